/**
 * Staged policies beside real packets: the kernel's table is the same with and without them, and what is told of each flow is
 * what becomes of the same packet once they are in force.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import type { FlowRecord } from '../../lib/flows/model.ts';
import type { SumRow } from '../../lib/flows/sums.ts';
import { PROTOCOL } from '../../lib/nft/statements.ts';
import { command, denialsAreHeard, startAgent } from '../support/agent-process.ts';
import { type Json, policies, runDir } from '../support/cni.ts';
import { KubeHost } from '../support/kube-host.ts';
import { onlyFrom, type PluggedPod, PolicyHost, pods, policy } from '../support/policy-host.ts';
import { until } from '../support/until.ts';

const LOG = '/run/test/flows.jsonl';
const families = [4, 6] as const;

interface Listed {
  readonly policy: string;
  readonly staged: boolean;
  readonly wouldDeny: number | null;
  readonly wouldAllow: number | null;
}

const staged = (manifest: Json): Json => ({
  ...manifest,
  metadata: { ...(manifest['metadata'] as Json), annotations: { 'tollgate.dev/staged': 'true' } },
});

const cluster = (name: string, spec: Json): Json => ({
  ...{ apiVersion: 'policy.networking.k8s.io/v1alpha2', kind: 'ClusterNetworkPolicy', metadata: { name } },
  spec,
});

const everyPod = { pods: { namespaceSelector: {}, podSelector: {} } };
const udp = (number: number) => [{ udp: { destinationPort: { number } } }];

const inForce = [
  onlyFrom('web', { app: 'web' }, { app: 'client' }),
  cluster('no-81', {
    ...{ tier: 'Admin', priority: 20, subject: everyPod },
    egress: [{ action: 'Deny', to: [everyPod], protocols: udp(81) }],
  }),
];

/** Of each kind and tier one, by the folder and by the annotation. */
const onTrial: readonly Json[] = [
  cluster('pass-81', {
    ...{ tier: 'Admin', priority: 10, subject: { pods: { namespaceSelector: {}, ...pods({ app: 'client' }) } } },
    egress: [{ name: 'later', action: 'Pass', to: [{ namespaces: {} }], protocols: udp(81) }],
  }),
  policy('more', { ...pods({ app: 'web' }), ingress: [{ from: [pods({ app: 'stranger' })], ports: [{ port: 80 }] }] }),
  policy('web', {
    ...pods({ app: 'web' }),
    ingress: [{ from: [pods({ app: 'client' })], ports: [{ port: 80, protocol: 'UDP' }] }],
  }),
  cluster('last', {
    ...{ tier: 'Baseline', priority: 1, subject: { pods: { namespaceSelector: {}, ...pods({ app: 'client' }) } } },
    ingress: [{ action: 'Deny', from: [{ namespaces: {} }], protocols: udp(80) }],
  }),
];

interface Probe {
  readonly from: PluggedPod;
  readonly to: PluggedPod;
  readonly family: 4 | 6;
  readonly protocol: number;
  readonly dport: number;
}

/** Sends a packet for each, and says which arrived, by source port. */
function send(host: PolicyHost, probes: readonly Probe[]): readonly { sport: number; arrived: boolean }[] {
  return probes.map(({ from, to, family, protocol, dport }) => {
    const packet = host.packet(from.addresses[family], to.addresses[family], { protocol, dport });
    return { sport: packet.sport!, arrived: host.arrives(from.end, packet, to.end) };
  });
}

async function flowsOf(host: PolicyHost, ...filter: readonly string[]): Promise<readonly FlowRecord[]> {
  const { exit, stdout, stderr } = await host.type(['flows', '--last', '10000', '-o', 'json', ...filter]);
  assert.equal(exit, 0, stderr);
  return linesOf(stdout);
}

/** A line that is being written has no end yet, and is left out. */
const linesOf = (text: string): readonly FlowRecord[] =>
  text
    .split('\n')
    .slice(0, -1)
    .map(line => JSON.parse(line) as FlowRecord)
    .filter(({ kind }) => kind === 'flow');

async function listed(host: PolicyHost): Promise<{ found: readonly Listed[]; stderr: string }> {
  const { exit, stdout, stderr } = await host.type(['policy', 'list', '-o', 'json']);
  assert.equal(exit, 0, stderr);
  return { found: JSON.parse(stdout) as readonly Listed[], stderr };
}

const counted = (flows: readonly FlowRecord[], name: string, verdict: 'allowed' | 'denied'): number =>
  flows.filter(flow => flow.staged?.verdict === verdict && flow.staged.by.includes(name)).length;

test('what is told of each flow is what becomes of it once the staged policies are in force, and until then nothing changes', async () => {
  using host = await PolicyHost.start({ setup: `mkdir -p ${policies}/staged` });
  host.put('real.yaml', ...inForce);
  using web = await host.plug('web', { labels: { app: 'web' } });
  using client = await host.plug('client', { labels: { app: 'client' } });
  using stranger = await host.plug('stranger', { labels: { app: 'stranger' } });
  const before = await host.words();
  host.put('staged/tried.yaml', ...onTrial.slice(0, 2));
  host.put('tried.yaml', ...onTrial.slice(2).map(staged));
  assert.match(await host.apply(), /4 policies are staged/);
  assert.equal(await host.words(), before, 'the table is the same');

  using agent = await startAgent(host.host, [...command, '--flows', '--flow-log', LOG]);
  void agent;
  await denialsAreHeard(host.host);
  const all = [web, client, stranger];
  const probes: readonly Probe[] = all.flatMap(from =>
    all
      .filter(to => to !== from)
      .flatMap(to =>
        families.flatMap(family =>
          [PROTOCOL.tcp, PROTOCOL.udp].flatMap(protocol =>
            [80, 81, 82].map(dport => ({ from, to, family, protocol, dport })),
          ),
        ),
      ),
  );
  const now = send(host, probes);
  const flows = await until('all to be recorded', async () => {
    const found = await flowsOf(host);
    return found.length >= probes.length ? found : undefined;
  });
  assert.equal(await host.words(), before, 'and stays so while they are judged');
  const byPort = new Map(flows.map(flow => [flow.sourcePort, flow]));
  const told = now.map(({ sport, arrived }) => {
    const flow = byPort.get(sport)!;
    assert.equal(flow.verdict, arrived ? 'allowed' : 'denied');
    assert.equal(flow.doubt, undefined);
    return (flow.staged?.verdict ?? flow.verdict) === 'allowed';
  });
  for (const verdict of ['allowed', 'denied'] as const) {
    const moved = flows.filter(flow => flow.staged?.verdict === verdict);
    assert.ok(moved.length > 0, verdict);
    assert.deepEqual(
      (await flowsOf(host, `staged:${verdict}`)).map(({ id }) => id),
      moved.map(({ id }) => id),
    );
  }

  const { found, stderr } = await listed(host);
  assert.match(stderr, /counted since 20/);
  const names = found.filter(each => each.staged).map(each => each.policy);
  assert.deepEqual(names, [
    ...['ClusterNetworkPolicy/pass-81', 'NetworkPolicy/default/more', 'NetworkPolicy/default/web'],
    'ClusterNetworkPolicy/last',
  ]);
  for (const { policy: name, staged: isStaged, wouldDeny, wouldAllow } of found)
    assert.deepEqual(
      [name, wouldDeny, wouldAllow],
      isStaged ? [name, counted(flows, name, 'denied'), counted(flows, name, 'allowed')] : [name, null, null],
    );
  assert.ok(
    found.filter(each => each.staged).every(each => each.wouldDeny! + each.wouldAllow! > 0),
    JSON.stringify(found),
  );
  const [last] = found.filter(each => each.policy === 'ClusterNetworkPolicy/last');
  assert.match(
    (await host.type(['policy', 'list'])).stdout,
    new RegExp(
      `^ClusterNetworkPolicy/last \\(staged: judged, not enforced\\) .* deny ${last!.wouldDeny}, allow 0 +Baseline 1 `,
      'm',
    ),
  );

  const metrics = await host.host.must(['curl', '-s', '--unix-socket', `${runDir}/agent.sock`, 'http://x/metrics']);
  assert.ok(
    metrics.includes(`tollgate_flows_staged_total{policy="${last!.policy}",verdict="denied"} ${last!.wouldDeny}`),
    metrics,
  );
  const { stdout: sums } = await host.type(['flows', '--sum', 'policy', '-o', 'json']);
  const row = (JSON.parse(sums) as readonly SumRow[]).find(({ from }) => from === last!.policy)!;
  assert.deepEqual([row.denied, row.allowed, row.wouldDeny, row.wouldAllow], [0, 0, last!.wouldDeny, 0]);
  assert.match((await host.type(['flows', '--sum', 'policy'])).stdout, /DENIED +ALLOWED +WOULD DENY +WOULD ALLOW/);
  assert.match(
    (await host.type(['flows', 'staged:last'])).stdout,
    /no policy isolates it, would be denied by ClusterNetworkPolicy\/last ingress\[0\] \(staged\)/,
  );

  const logged = await until('denied flows in the file', () => {
    const lines = linesOf(readFileSync(host.host.path(LOG), 'utf8'));
    return lines.some(flow => flow.staged?.verdict === 'allowed') ? lines : undefined;
  });
  for (const flow of logged) assert.deepEqual(flow.staged, byPort.get(flow.sourcePort)!.staged);

  // In force, each in the place of the one of its name.
  host.remove('staged/tried.yaml');
  host.put('real.yaml', ...inForce.filter(each => (each['metadata'] as Json)['name'] !== 'web'), ...onTrial);
  host.remove('tried.yaml');
  await host.apply();
  assert.deepEqual(
    send(host, probes).map(({ arrived }) => arrived),
    told,
  );
});

test('where nothing counts it that is said, and no number is', async () => {
  using host = await PolicyHost.start();
  host.put('tried.yaml', staged(onlyFrom('web', { app: 'web' }, { app: 'nobody' })));
  using web = await host.plug('web', { labels: { app: 'web' } });
  void web;
  const { found, stderr } = await listed(host);
  assert.deepEqual(found, [{ ...found[0]!, staged: true, wouldDeny: null, wouldAllow: null }]);
  const says =
    /what staged policies would deny is not counted \(no agent of this node records flows\): start the agent with --flows/;
  assert.match(stderr, says);
  using agent = await startAgent(host.host);
  void agent;
  const again = await host.type(['policy', 'list']);
  assert.match(again.stderr, says);
  assert.doesNotMatch(again.stdout, /WOULD|deny 0/);
});

test('on a node of Kubernetes policies of both kinds are tried as the API tells of them, and no longer once they are not staged', async () => {
  await using host = await KubeHost.startCluster();
  host.api.install('clusternetworkpolicies');
  const put = (isStaged: boolean): void => {
    host.api.put('clusternetworkpolicies', {
      metadata: { name: 'no-udp', ...(isStaged ? { annotations: { 'tollgate.dev/staged': 'true' } } : {}) },
      spec: {
        ...{ tier: 'Admin', priority: 1, subject: everyPod },
        ingress: [{ action: 'Deny', from: [{ namespaces: {} }], protocols: udp(80) }],
      },
    });
  };
  put(true);
  const { metadata, spec } = staged(policy('shut', { ...pods({ role: 'web' }), policyTypes: ['Ingress'] })) as {
    metadata: Json;
    spec: Json;
  };
  host.api.put('networkpolicies', { metadata: metadata as { name: string }, spec });
  using agent = await host.startAgent('--flows');
  void agent;
  await denialsAreHeard(host.host);
  using web = await host.run({ name: 'web', labels: { role: 'web' } });
  using other = await host.run({ name: 'other' });
  const tried = async (protocol: number): Promise<FlowRecord> => {
    const packet = host.packet(other.addresses[4], web.addresses[4], { protocol });
    host.arrives(other.end, packet, web.end);
    return await until('the flow', async () =>
      (await flowsOf(host, 'port:80')).find(({ sourcePort }) => sourcePort === packet.sport),
    );
  };
  const first = await tried(PROTOCOL.udp);
  assert.deepEqual([first.verdict, first.staged?.verdict], ['allowed', 'denied']);
  assert.deepEqual(first.staged?.by, ['ClusterNetworkPolicy/no-udp']);
  assert.deepEqual((await tried(PROTOCOL.tcp)).staged?.by, ['NetworkPolicy/default/shut']);
  const { found } = await listed(host);
  assert.deepEqual(
    found.map(({ policy: name, wouldDeny, wouldAllow }) => [name, wouldDeny, wouldAllow]),
    [
      ['ClusterNetworkPolicy/no-udp', 1, 0],
      ['NetworkPolicy/default/shut', 1, 0],
    ],
  );
  const answers: [words: readonly string[], exit: number, says: RegExp][] = [
    [['diff', '--staged'], 1, /- closes {2}.* to default\/web\n.*\n +.*NetworkPolicy\/default\/shut isolates/],
    [
      ['diff', '--staged'],
      1,
      /- closes {2}.* to .*\n +UDP 80; .*\n +ClusterNetworkPolicy\/no-udp ingress\[0] denies it/,
    ],
    [
      ['explain', '--from', 'default/other', '--to', 'default/web', '--port', '80/UDP'],
      0,
      /With the staged policies in force it would be denied:\n {2}ingress: denied, ClusterNetworkPolicy\/no-udp ingress\[0]/,
    ],
    [
      ['matrix', '--port', '80/UDP'],
      0,
      /If the staged policies were in force \(ClusterNetworkPolicy\/no-udp, NetworkPolicy\/default\/shut\):/,
    ],
  ];
  for (const [words, code, says] of answers) {
    const { exit, stdout, stderr } = await host.type(['policy', ...words]);
    assert.equal(exit, code, stderr);
    assert.match(stdout, says);
  }
  put(false);
  await until('it to be in force', () => {
    const packet = host.packet(other.addresses[4], web.addresses[4]);
    return !host.arrives(other.end, packet, web.end);
  });
  const denied = await tried(PROTOCOL.udp);
  assert.deepEqual(
    [denied.verdict, denied.staged, denied.ingress?.by],
    ['denied', undefined, ['ClusterNetworkPolicy/no-udp']],
  );
  host.api.remove('networkpolicies', 'shut', 'default');
  await until('nothing to be tried any more', async () => (await tried(PROTOCOL.tcp)).staged === undefined);
});
