/** How long it takes from a write to the API to the first packet that is refused, and to the first that is let in. */
import { parseArgs } from 'node:util';
import { sayer } from '../bench/progress.ts';
import { formatReport, quantile, type Row, reportOf, single } from '../bench/report.ts';
import type { Api, KubeObject } from './api.ts';
import { KubeCluster, namespaceOf, policyOf } from './cluster.ts';
import { define, definitions } from './definitions.ts';
import { delayOf, knockingAt } from './delay.ts';
import { release } from './release.ts';
import type { Knocking } from './traffic.ts';

/** Of each kind. */
const CHANGES = 200;
interface Change {
  readonly what: string;
  /** Once, and not measured. */
  readonly prepare?: () => Promise<unknown>;
  readonly allow: () => Promise<void>;
  readonly deny: () => Promise<void>;
}

function rowsOf(what: string, refused: readonly number[], allowed: readonly number[]): readonly Row[] {
  return [['first refused packet', refused] as const, ['first allowed packet', allowed] as const].flatMap(
    ([fate, values]) => {
      const measured = (name: string) => ({ part: 'cluster', what: `${what} → ${fate}, ${name}`, unit: 'ms' as const });
      const p99 = quantile(values, 0.99);
      const target = { of: 'value', atMost: 250 } as const;
      return [
        single(measured('p50'), values),
        { ...measured('p99'), value: p99, runs: values.length, target, reached: p99 <= target.atMost },
      ];
    },
  );
}

async function measure(knocking: Knocking, { what, prepare, allow, deny }: Change): Promise<readonly Row[]> {
  // Both kinds start from what is allowed, and in force.
  await delayOf(knocking, true, async () => void (await prepare?.()));
  const [refused, allowed]: [number[], number[]] = [[], []];
  for (let i = 0; i < CHANGES / 2; i++) {
    refused.push(await delayOf(knocking, false, deny));
    allowed.push(await delayOf(knocking, true, allow));
  }
  return rowsOf(what, refused, allowed);
}

/** Of one policy, that denies what all others allow. */
function changesOfTiers(api: Api, namespace: KubeObject): readonly Change[] {
  const denying = (labels: Readonly<Record<string, string>>): KubeObject => ({
    ...{ apiVersion: 'policy.networking.k8s.io/v1alpha2', kind: 'ClusterNetworkPolicy', metadata: { name: 'bench' } },
    spec: {
      ...{ tier: 'Admin', priority: 10, subject: { namespaces: { matchLabels: { team: 'bench' } } } },
      ingress: [{ action: 'Deny', from: [{ namespaces: { matchLabels: labels } }] }],
    },
  });
  const whole = denying({ team: 'bench' });
  return [
    {
      what: 'cluster policy',
      deny: async () => void (await api.apply(whole)),
      allow: async () => await api.delete(whole),
    },
    {
      what: "namespace's label, for a cluster policy",
      prepare: async () => await api.apply(denying({ denied: 'yes' })),
      deny: async () => await api.label(namespace, { denied: 'yes' }),
      allow: async () => await api.label(namespace, { denied: null }),
    },
  ];
}

async function changesOf(
  cluster: KubeCluster,
): Promise<{ readonly changes: readonly Change[]; readonly knocking: Knocking }> {
  const { api } = cluster;
  await api.apply(namespaceOf('bench', { team: 'bench' }));
  const all = ['web', 'client'].map(name => ({ namespace: 'bench', name, labels: { app: name } }));
  const [web, client] = await cluster.runAll(all);
  const closed = policyOf('bench', 'closed', { podSelector: { matchLabels: { app: 'web' } } });
  const from = (peer: object) =>
    policyOf('bench', 'some', { podSelector: { matchLabels: { app: 'web' } }, ingress: [{ from: [peer] }] });
  const labelled = (what: string, object: KubeObject, peer: object): Change => ({
    what,
    prepare: async () => await Promise.all([api.label(object, { trusted: 'yes' }), api.apply(from(peer))]),
    allow: async () => await api.label(object, { trusted: 'yes' }),
    deny: async () => await api.label(object, { trusted: null }),
  });
  const matchLabels = { trusted: 'yes' };
  const policy: Change = {
    what: 'policy',
    deny: async () => void (await api.apply(closed)),
    allow: async () => await api.delete(closed),
  };
  return {
    knocking: knockingAt(cluster, client!, web!),
    changes: [
      policy,
      ...changesOfTiers(api, namespaceOf('bench')),
      labelled("pod's label", client!, { podSelector: { matchLabels } }),
      labelled("namespace's label", namespaceOf('bench'), { namespaceSelector: { matchLabels } }),
    ],
  };
}

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({ allowPositionals: true, options: { json: { type: 'boolean' } } });
  const rows: Row[] = [];
  using cluster = await KubeCluster.start();
  const say = sayer('cluster');
  const heard = await define(cluster, definitions());
  rows.push(
    single({ part: 'cluster', what: 'definition of ClusterNetworkPolicy → agents have heard it', unit: 'ms' }, [heard]),
  );
  const { changes, knocking } = await changesOf(cluster);
  for (const change of changes.filter(({ what }) => positionals.every(word => what.includes(word)))) {
    say(`${CHANGES} changes, ${change.what}`);
    rows.push(...(await measure(knocking, change)));
  }
  await knocking.end();
  const report = reportOf(rows, { 'the API of Kubernetes': release.name }, 'npm run bench -- cluster');
  process.stdout.write(values.json ? `${JSON.stringify(report, null, 2)}\n` : formatReport(report));
}

// The first process of its namespace gets no signal that it does not ask for.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => process.exit(1));
await main();
