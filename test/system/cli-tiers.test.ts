/**
 * Commands beside explain, matrix and diff over policies of both tiers: what would be sent,
 * how the agent is, and what a shell completes.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { AgentStatus } from '../../lib/controller/agent-report.ts';
import { MOST_OF_CLUSTER_POLICY } from '../../lib/policy/model/budget.ts';
import { type Json, policies, runDir, tollgate } from '../support/cni.ts';
import { KubeHost } from '../support/kube-host.ts';
import { PolicyHost, pods, policy } from '../support/policy-host.ts';
import { until } from '../support/until.ts';

const cluster = (tier: 'Admin' | 'Baseline', action: string, from: Json, metadata: Json = {}): Json => ({
  ...{ apiVersion: 'policy.networking.k8s.io/v1alpha2', kind: 'ClusterNetworkPolicy' },
  metadata: { name: tier.toLowerCase(), ...metadata },
  spec: {
    ...{ tier, priority: 7, subject: { pods: { namespaceSelector: {}, ...pods({ app: 'web' }) } } },
    ingress: [{ name: 'by name', action, from: [{ pods: { namespaceSelector: {}, ...from } }] }],
  },
});

test('apply --dry-run prints what policies of both tiers come to, and nft makes of it what apply does', async () => {
  using host = await PolicyHost.start();
  using web = await host.plug('web', { labels: { app: 'web' } });
  using client = await host.plug('client', { labels: { app: 'client' } });
  using stranger = await host.plug('stranger', { labels: { app: 'stranger' } });
  const reached = () => [client, stranger].map(from => host.reaches(from, web));
  assert.deepEqual(reached(), [true, true]);
  host.put(
    'tiers.yaml',
    cluster('Admin', 'Accept', pods({ app: 'client' })),
    cluster('Baseline', 'Deny', { podSelector: {} }),
    {
      ...policy('shut', pods({ app: 'web' })),
      metadata: { name: 'shut', annotations: { 'tollgate.dev/staged': 'true' } },
    },
  );
  const before = await host.words();
  const { exit, stdout, stderr } = await host.type(['policy', 'apply', '--dry-run']);
  assert.equal(exit, 0, stderr);
  assert.match(stdout, /ClusterNetworkPolicy\/admin ingress\[0\]/);
  assert.match(stdout, /ClusterNetworkPolicy\/baseline ingress\[0\]/);
  assert.doesNotMatch(stdout, /shut/, 'what is staged is in no batch');
  assert.equal(await host.words(), before);
  await host.host.must(['nft', '-f', '-'], { input: stdout });
  assert.deepEqual(reached(), [true, false]);
  const byHand = await host.words();
  const applied = JSON.parse((await host.type(['policy', 'apply', '-o', 'json'])).stdout) as Readonly<
    Record<'added' | 'staged', readonly string[]>
  >;
  assert.deepEqual(applied.added, ['ClusterNetworkPolicy/admin', 'ClusterNetworkPolicy/baseline']);
  assert.deepEqual(applied.staged, ['NetworkPolicy/default/shut']);
  assert.equal(await host.words(), byHand);
  assert.match((await host.type(['policy', 'apply', '--dry-run'])).stdout, /^# Nothing would be sent/);
});

test('apply --dry-run says of a folder’s faults what apply says, with the same exit code', async () => {
  using host = await PolicyHost.start();
  using web = await host.plug('web', { labels: { app: 'web' } });
  void web;
  const foreign = { apiVersion: 'cilium.io/v2', kind: 'CiliumNetworkPolicy', metadata: { name: 'x' } };
  const invalid = cluster('Admin', 'Drop', { podSelector: {} });
  const said = async (...more: readonly string[]) => {
    const { exit, stderr } = await host.type(['policy', 'apply', ...more]);
    return { exit, stderr };
  };
  for (const [manifest, exit, about] of [
    [foreign, 0, /CiliumNetworkPolicy\/x is not enforced by this version/],
    [invalid, 1, /ClusterNetworkPolicy\/admin spec\.ingress\[0]\.action: "Drop" is no action/],
  ] as const) {
    host.put('a.yaml', manifest);
    const [dry, real] = [await said('--dry-run'), await said()];
    assert.deepEqual(dry, real);
    assert.equal(dry.exit, exit);
    assert.match(dry.stderr, about);
    const { stdout } = await host.type(['policy', 'apply', '--dry-run', '-o', 'json']);
    assert.match((JSON.parse(stdout) as { readonly warnings: readonly string[] }).warnings.join(), about);
  }
});

test('a staged policy of an unknown version changes nothing, and a staged file that is broken is told where one asks for staged policies', async () => {
  using host = await PolicyHost.start({ setup: `mkdir -p ${policies}/staged` });
  using web = await host.plug('web', { labels: { app: 'web' } });
  using client = await host.plug('client', { labels: { app: 'client' } });
  await host.apply();
  const before = await host.words();
  host.put('staged/a.yaml', { ...policy('shut', {}), apiVersion: 'networking.k8s.io/v2' });
  const { exit, stderr } = await host.type(['policy', 'apply']);
  assert.equal(exit, 1);
  assert.match(stderr, /NetworkPolicy\/default\/shut \(staged\) apiVersion: "networking\.k8s\.io\/v2" is no version/);
  assert.equal(await host.words(), before);
  assert.equal(host.reaches(client, web), true);
  host.remove('staged/a.yaml');
  host.put('staged/b.yaml', 'a: [');
  assert.equal((await host.type(['policy', 'apply'])).exit, 1);
  for (const args of [['diff', '--staged'], ['list'], ['matrix', '--port', '80']])
    assert.match(
      (await host.type(['policy', ...args])).stderr,
      /staged\/b\.yaml cannot be read as manifests, so nothing of it is tried/,
    );
});

test('status tells of cluster policies: whether the API has them, which are too large, and how many are staged', async () => {
  await using host = await KubeHost.startCluster();
  host.api.install('clusternetworkpolicies');
  using agent = await host.startAgent();
  void agent;
  const status = async () => {
    const type = (...more: readonly string[]) => host.host.run([tollgate, 'status', '--run-dir', runDir, ...more]);
    const [json, text] = [await type('-o', 'json'), await type()];
    return { found: JSON.parse(json.stdout) as AgentStatus, text: text.stdout };
  };
  const put = ({ metadata, spec }: Json): void =>
    host.api.put('clusternetworkpolicies', { metadata: metadata as { name: string }, spec: spec as Json });
  const values = Array.from({ length: MOST_OF_CLUSTER_POLICY + 1 }, (_, i) => `v${i}`);
  put(cluster('Admin', 'Accept', { podSelector: { matchExpressions: [{ key: 'a', operator: 'In', values }] } }));
  put(cluster('Baseline', 'Deny', { podSelector: {} }, { annotations: { 'tollgate.dev/staged': 'true' } }));
  const { found, text } = await until('both to be heard of', async () => {
    const now = await status();
    return now.found.watches.some(({ resource, objects }) => resource === 'clusternetworkpolicies' && objects === 2)
      ? now
      : undefined;
  });
  assert.deepEqual([found.beyondBudget, found.staged], [['ClusterNetworkPolicy/admin'], 1]);
  assert.match(text, /^ {2}too large, .*: ClusterNetworkPolicy\/admin$/m);
  assert.match(text, /^ {2}1 policy is staged: see tollgate policy diff --staged\.$/m);
  assert.match(text, /^ {2}clusternetworkpolicies: up, 2 objects/m);
  assert.match(text, /^ {2}adminnetworkpolicies: not known to this API server/m);
});

const completed: [words: readonly string[], holds: string][] = [
  [['policy', 'diff', '--st'], '--staged'],
  [['policy', 'explain', '--se'], '--service'],
  [['policy', 'list', '--po'], '--policies'],
  [['policy', 'apply', '--dr'], '--dry-run'],
  [['install', '--with'], '--with-crds'],
  [['flows', '--sum', ''], 'policy'],
];

test('diff of a policy that becomes staged: in the API it is in force no longer, in a folder it stands beside the one in force', async () => {
  await using kube = await KubeHost.startCluster();
  kube.api.install('clusternetworkpolicies');
  using agent = await kube.startAgent();
  void agent;
  using folder = await PolicyHost.start();
  const deny = cluster('Admin', 'Deny', { podSelector: {} });
  using plugged = new DisposableStack();
  for (const name of ['web', 'client']) {
    plugged.use(await folder.plug(name, { labels: { app: name } }));
    plugged.use(await kube.run({ name, labels: { app: name } }));
  }
  folder.put('a.yaml', deny);
  await folder.apply();
  kube.api.put('clusternetworkpolicies', { metadata: deny['metadata'] as { name: string }, spec: deny['spec'] });
  await until('the agent to have heard of it', async () =>
    (await kube.type(['policy', 'list'])).stdout.includes('ClusterNetworkPolicy/admin'),
  );
  const input = JSON.stringify({
    ...deny,
    metadata: { name: 'admin', annotations: { 'tollgate.dev/staged': 'true' } },
  });
  const [api, beside] = [
    await kube.type(['policy', 'diff', '-f', '-'], { input }),
    await folder.type(['policy', 'diff', '-f', '-'], { input }),
  ];
  assert.deepEqual([api.exit, beside.exit], [1, 0], api.stderr + beside.stderr);
  assert.match(api.stdout, /ClusterNetworkPolicy\/admin ingress\[0] no longer denies it/);
  assert.equal(beside.stdout, 'No connection opens or closes.\n');
});

test('list and lint on an agent’s node name policies that are too large, and say of what is invalid where to ask', async () => {
  await using host = await KubeHost.startCluster();
  host.api.install('clusternetworkpolicies');
  using agent = await host.startAgent();
  void agent;
  using web = await host.run({ name: 'web', labels: { app: 'web' } });
  void web;
  const put = (name: string, spec: Json, metadata: Json = {}): void =>
    host.api.put('clusternetworkpolicies', { metadata: { name, ...metadata }, spec });
  const subject = { namespaces: {} };
  const values = Array.from({ length: MOST_OF_CLUSTER_POLICY + 1 }, (_, i) => `v${i}`);
  const many = { podSelector: { matchExpressions: [{ key: 'a', operator: 'In', values }] } };
  const large = { tier: 'Baseline', priority: 1, subject, ingress: [{ action: 'Accept', from: [{ pods: many }] }] };
  put('large', large);
  put('large-trial', large, { annotations: { 'tollgate.dev/staged': 'true' } });
  host.policy('large', { podSelector: {}, policyTypes: ['Ingress'], ingress: [{ from: [many] }] });
  put('newer', {
    ...{ tier: 'Admin', priority: 1, subject },
    ingress: [{ action: 'Accept', from: [{ sameLabels: ['team'] }] }],
  });
  const listed = await until('all to be listed', async () => {
    const { stdout } = await host.type(['policy', 'list', '-o', 'json']);
    const found = JSON.parse(stdout) as readonly Readonly<Record<'policy' | 'beyondBudget' | 'staged', unknown>>[];
    return found.length === 4 ? found : undefined;
  });
  assert.deepEqual(
    listed.map(({ policy: name, beyondBudget, staged }) => [name, beyondBudget, staged]),
    [
      ['ClusterNetworkPolicy/newer', false, false],
      ['NetworkPolicy/default/large', true, false],
      ['ClusterNetworkPolicy/large', true, false],
      ['ClusterNetworkPolicy/large-trial', true, true],
    ],
  );
  const { exit, stdout } = await host.type(['policy', 'lint']);
  assert.equal(exit, 1);
  const errors = stdout.split('\n').filter(line => line.startsWith('error'));
  assert.deepEqual(
    errors.map(line => /resourceVersion \d+ (.*?), so/.exec(line)?.[1]?.replace(/\(peers.*\)/, '…')).sort(),
    [
      'ClusterNetworkPolicy/large spec: More than 50000 entries …',
      'ClusterNetworkPolicy/large-trial (staged) spec: More than 50000 entries …',
      'ClusterNetworkPolicy/newer spec.ingress[0].from[0]: Invalid as it stands in the API',
      'NetworkPolicy/default/large spec: More than 20000 entries …',
    ],
  );
});

test('bash completes what there is for policies of all tiers', async () => {
  using host = await PolicyHost.start();
  const env = { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', SHELL: '/bin/bash' };
  const script = await host.host.must([tollgate, 'completion'], { env });
  for (const [words, holds] of completed) {
    const all = ['tollgate', ...words];
    const line = `tollgate() { ${tollgate} "$@"; }\n${script}
COMP_WORDS=(${all.map(word => `'${word}'`).join(' ')}) COMP_CWORD=${all.length - 1}
_tollgate_yargs_completions; printf '%s\\n' "\${COMPREPLY[@]}"`;
    const found = (await host.host.must(['bash', '--norc', '-c', line], { env })).trim().split('\n');
    assert.ok(found.includes(holds), `${words.join(' ')}: ${found.join(' ')}`);
  }
});
