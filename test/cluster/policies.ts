/** What policies of the API mean for real requests from pods' own namespaces, and how soon a new label holds. */
import assert from 'node:assert/strict';
import { BlockList, isIPv6 } from 'node:net';
import { before, suite, test } from 'node:test';
import type { KubeObject, Pod } from './api.ts';
import { defaultDeny, type KubeCluster, namespaceOf, policyOf } from './cluster.ts';
import { define, definitions, undefine } from './definitions.ts';
import { ANSWER, settle, type Verdicts } from './patience.ts';

const names = ['web', 'client', 'stranger', 'visitor'] as const;
type Name = (typeof names)[number];
/** Where no policy is in force. */
const open: Verdicts = Object.fromEntries(
  names.flatMap(from => names.filter(to => to !== from).map(to => [`${from}→${to}:80`, true])),
);

const clients = { podSelector: { matchLabels: { app: 'client' } } };
const toWeb = (from: unknown, more: object = {}) =>
  policyOf('shop', 'to-web', {
    podSelector: { matchLabels: { app: 'web' } },
    policyTypes: ['Ingress'],
    ingress: [{ from: [from], ...more }],
  });
const fromClient = (to: unknown) =>
  policyOf('shop', 'from-client', {
    podSelector: { matchLabels: { app: 'client' } },
    policyTypes: ['Egress'],
    egress: [{ to: [to] }],
  });
const familyOf = (ip: string): 'ipv4' | 'ipv6' => (isIPv6(ip) ? 'ipv6' : 'ipv4');
const block = (cidr: string, except: readonly string[] = []) => ({ ipBlock: { cidr, except } });

/** Of all pods of the namespace `shop`. */
const ofCluster = (name: string, tier: 'Admin' | 'Baseline', priority: number, rule: object): KubeObject => ({
  ...{ apiVersion: 'policy.networking.k8s.io/v1alpha2', kind: 'ClusterNetworkPolicy', metadata: { name } },
  spec: { tier, priority, subject: { namespaces: { matchLabels: { team: 'shop' } } }, ingress: [rule] },
});
const denying = (tier: 'Admin' | 'Baseline') =>
  ofCluster(`deny-${tier.toLowerCase()}`, tier, 20, { action: 'Deny', from: [{ namespaces: {} }] });
const passing = (team: string, app: string) =>
  ofCluster('pass', 'Admin', 10, {
    action: 'Pass',
    from: [{ pods: { namespaceSelector: { matchLabels: { team } }, podSelector: { matchLabels: { app } } } }],
  });

interface Case {
  readonly name: string;
  readonly policies: (addresses: Readonly<Record<Name, string>>) => readonly KubeObject[];
  /** `client→web:80`, and whether it is allowed. */
  readonly expected: Verdicts;
}

const cases: readonly Case[] = [
  {
    name: 'without a policy everything is allowed',
    policies: () => [],
    expected: { 'client→web:80': true, 'client→web:81': true, 'visitor→web:80': true, 'web→client:80': true },
  },
  {
    name: 'default-deny closes both directions',
    policies: () => [defaultDeny('shop')],
    expected: { 'client→web:80': false, 'visitor→web:80': false, 'web→visitor:80': false, 'visitor→visitor:80': true },
  },
  {
    name: 'allowed by label, on both sides',
    policies: () => [defaultDeny('shop'), toWeb(clients), fromClient({ podSelector: { matchLabels: { app: 'web' } } })],
    expected: {
      'client→web:80': true,
      'client→web:81': true,
      'web→client:80': false,
      'client→stranger:80': false,
      'stranger→web:80': false,
      'visitor→web:80': false,
    },
  },
  {
    name: "allowed by the namespace's label",
    policies: () => [toWeb({ namespaceSelector: { matchLabels: { team: 'guests' } } })],
    expected: { 'visitor→web:80': true, 'client→web:80': false, 'visitor→client:80': true },
  },
  {
    name: 'allowed by named port',
    policies: () => [toWeb(clients, { ports: [{ port: 'http' }] })],
    expected: { 'client→web:80': true, 'client→web:81': false, 'stranger→web:80': false },
  },
  {
    name: 'egress allowed by CIDR',
    policies: ({ web }) => [fromClient(block(`${web}/32`))],
    expected: { 'client→web:80': true, 'client→stranger:80': false, 'stranger→web:80': true },
  },
  {
    name: 'ingress allowed by CIDR with an exception',
    policies: ({ client }) => [toWeb(block('10.244.0.0/16', [`${client}/32`]))],
    expected: { 'client→web:80': false, 'stranger→web:80': true, 'visitor→web:80': true },
  },
];

export function policies(cluster: () => KubeCluster): void {
  suite('policies', () => {
    const pods = new Map<string, Pod>();
    const address = (name: Name): string => pods.get(name)!.status.podIP!;

    before(async () => {
      const { api } = cluster();
      await api.apply(namespaceOf('shop', { team: 'shop' }));
      await api.apply(namespaceOf('guests', { team: 'guests' }));
      const shop = ['web', 'client', 'stranger'].map(name => ({ namespace: 'shop', name, labels: { app: name } }));
      const visitor = { namespace: 'guests', name: 'visitor', labels: { app: 'client' } };
      for (const pod of (await Promise.all([cluster().runAll(shop), cluster().runAll([visitor])])).flat()) {
        pods.set(pod.metadata.name, pod);
      }
    });

    async function settles(expected: Verdicts): Promise<void> {
      await settle(expected, async (flow, patience) => {
        const [, from, to, port] = /^(\w+)→(\w+):(\d+)$/.exec(flow)!;
        return await cluster().reaches(pods.get(from!)!, pods.get(to!)!, { port: Number(port), patience });
      });
    }

    /** What the policies shut is open again at the end: what the next one finds shut, its own policies have shut. */
    async function under(policies: readonly KubeObject[], run: () => Promise<void>, afterwards = open): Promise<void> {
      const { api } = cluster();
      await Promise.all(policies.map(async policy => await api.apply(policy)));
      try {
        await run();
      } finally {
        await Promise.all(policies.map(async policy => await api.delete(policy)));
      }
      await settles(afterwards);
    }

    test('policies of the cluster hold once their definition has come, tier by tier', async t => {
      const installed = definitions();
      t.diagnostic(`heard of after ${Math.round(await define(cluster(), installed))} ms`);
      try {
        const [pass, deny, last] = [passing('shop', 'client'), denying('Admin'), denying('Baseline')];
        const tiers = { 'client→web:80': true, 'stranger→web:80': false, 'visitor→web:80': false };
        await under([pass, deny], async () => {
          await settles(tiers);
          await under([defaultDeny('shop', ['Ingress'])], () => settles({ ...tiers, 'client→web:80': false }), tiers);
        });
        await under([last], async () => {
          const shut = { 'client→web:80': false, 'web→visitor:80': true };
          await settles(shut);
          await under([toWeb(clients)], () => settles(tiers), shut);
        });
      } finally {
        await undefine(cluster(), installed);
      }
    });

    test("pods have addresses of the node's range, and reach each other by TCP and UDP", async () => {
      for (const pod of pods.values()) {
        const { podCIDR, podCIDRs = [podCIDR!] } = (await cluster().nodeOf(pod).read())!.spec;
        const ranges = new BlockList();
        for (const range of podCIDRs) {
          const [base = '', prefix] = range.split('/');
          ranges.addSubnet(base, Number(prefix), familyOf(base));
        }
        const addresses = pod.status.podIPs!.map(({ ip }) => ip);
        assert.equal(addresses.length, podCIDRs.length);
        for (const ip of addresses) assert.ok(ranges.check(ip, familyOf(ip)), `${ip} in ${podCIDRs}`);
      }
      for (const transport of ['tcp', 'udp'] as const) {
        for (const [from, to] of [
          ['client', 'web'],
          ['web', 'visitor'],
        ] as const) {
          assert.ok(
            await cluster().reaches(pods.get(from)!, pods.get(to)!, { transport, patience: ANSWER }),
            `${from} to ${to}`,
          );
        }
      }
    });

    for (const { name, policies, expected } of cases) {
      test(name, async () => {
        const addresses = Object.fromEntries(names.map(pod => [pod, address(pod)])) as Record<Name, string>;
        await under(policies(addresses), () => settles(expected));
      });
    }

    test("a pod's new label lets it in, and shuts it out again", async () => {
      await under([toWeb(clients)], async () => {
        const stranger = pods.get('stranger')!;
        await settles({ 'client→web:80': true, 'stranger→web:80': false });
        await cluster().api.label(stranger, { app: 'client' });
        await settles({ 'client→web:80': true, 'stranger→web:80': true });
        await cluster().api.label(stranger, { app: 'stranger' });
        await settles({ 'client→web:80': true, 'stranger→web:80': false });
      });
    });

    test("a pod's new label puts it under a policy", async () => {
      const secret = policyOf('shop', 'secret', { podSelector: { matchLabels: { secret: 'yes' } } });
      await under([secret], async () => {
        const web = pods.get('web')!;
        await settles({ 'client→web:80': true });
        await cluster().api.label(web, { secret: 'yes' });
        await settles({ 'client→web:80': false });
        await cluster().api.label(web, { secret: null });
        await settles({ 'client→web:80': true });
      });
    });

    test("a namespace's new label lets its pods in, and shuts them out again", async () => {
      await under([toWeb({ namespaceSelector: { matchLabels: { trusted: 'yes' } } })], async () => {
        const guests = namespaceOf('guests');
        await settles({ 'visitor→web:80': false });
        await cluster().api.label(guests, { trusted: 'yes' });
        await settles({ 'visitor→web:80': true });
        await cluster().api.label(guests, { trusted: null });
        await settles({ 'visitor→web:80': false });
      });
    });
  });
}
