/** The policy commands over cluster policies and staged ones: what a person and a script see of manifests in a folder. */
import assert from 'node:assert/strict';
import test, { after } from 'node:test';
import { startHost, tollgate } from '../support/cni.ts';

const host = await startHost({ setup: 'mkdir -p /run/work/cnp/staged /run/work/bad' });
after(() => host[Symbol.dispose]());

const pod = (namespace: string, name: string, ip: string) =>
  `{ apiVersion: v1, kind: Pod, metadata: { namespace: ${namespace}, name: ${name}, labels: { app: ${name} } }, status: { podIPs: [{ ip: ${ip} }] } }`;
const cluster = (name: string, spec: string) =>
  `{ apiVersion: policy.networking.k8s.io/v1alpha2, kind: ClusterNetworkPolicy, metadata: { name: ${name} }, spec: ${spec} }`;
const shop = 'subject: { namespaces: { matchLabels: { team: shop } } }';

host.write(
  '/run/work/cnp/all.yaml',
  [
    '{ apiVersion: v1, kind: Namespace, metadata: { name: shop, labels: { team: shop } } }',
    pod('shop', 'web', '10.0.0.1'),
    pod('bank', 'api', '10.0.1.1'),
    pod('mon', 'prom', '10.0.2.1'),
    cluster(
      'no-bank',
      `{ tier: Admin, priority: 10, ${shop}, ingress: [{ name: bank, action: Deny, from: [{ namespaces: { matchLabels: { kubernetes.io/metadata.name: bank } } }] }] }`,
    ),
  ].join('\n---\n'),
);
host.write(
  '/run/work/cnp/staged/later.yaml',
  cluster(
    'no-mon',
    `{ tier: Baseline, priority: 1, ${shop}, ingress: [{ action: Deny, from: [{ namespaces: {} }] }] }`,
  ),
);
host.write(
  '/run/work/bad/x.yaml',
  cluster('x', '{ tier: Admin, priority: 1, subject: {}, ingress: [{ action: Allow, from: [{}] }] }'),
);

const policy = (command: string, ...args: readonly string[]) =>
  host.run([tollgate, 'policy', command, '-f', '/run/work/cnp', ...args]);

test('matrix: the grid says what is so, and what staged policies would change', async () => {
  const { exit, stdout } = await policy('matrix', '--port', '80/TCP');
  assert.equal(exit, 0);
  assert.match(
    stdout,
    /bank\/api to shop\/web: ClusterNetworkPolicy\/no-bank ingress\[0] "bank" denies TCP 80 from bank\/api \(tier Admin\)/,
  );
  assert.match(
    stdout,
    /If the staged policies were in force \(ClusterNetworkPolicy\/no-mon\):\n {2}mon\/prom to shop\/web: denied, ClusterNetworkPolicy\/no-mon ingress\[0] denies TCP 80 from mon\/prom \(tier Baseline\)/,
  );
});

test('matrix as JSON and as a page has both verdicts', async () => {
  const { stdout } = await policy('matrix', '--port', '80/TCP', '-o', 'json');
  const rows = JSON.parse(stdout) as readonly {
    from: string;
    to: string;
    allowed: boolean;
    staged: { allowed: boolean };
  }[];
  const row = rows.find(({ from, to }) => from === 'mon/prom' && to === 'shop/web');
  assert.deepEqual([row!.allowed, row!.staged.allowed], [true, false]);
  const page = (await policy('matrix', '--port', '80/TCP', '-o', 'html')).stdout;
  assert.match(page, /"staged":\[/);
  assert.match(page, /denies TCP 80 from \\u0001 \(tier Baseline\)/);
});

test('explain walks the tiers, and tells the staged verdict beside the real one', async () => {
  const ends = ['--from', 'mon/prom', '--to', 'shop/web', '--port', '80/TCP'];
  const { exit, stdout } = await policy('explain', ...ends);
  assert.equal(exit, 0);
  assert.match(stdout, /Tier Admin, none of whose rules matches:\n {4}ClusterNetworkPolicy\/no-bank, priority 10/);
  assert.match(
    stdout,
    /With the staged policies in force it would be denied:\n {2}ingress: denied, ClusterNetworkPolicy\/no-mon/,
  );
  const [row] = JSON.parse((await policy('explain', ...ends, '-o', 'json')).stdout) as readonly {
    staged: { allowed: boolean };
  }[];
  assert.equal(row!.staged.allowed, false);
});

test('explain through a Service judges a pod’s way to itself', async () => {
  const ends = ['--from', 'bank/api', '--to', 'bank/api', '--port', '80/TCP'];
  assert.match((await policy('explain', ...ends)).stdout, /bank\/api always reaches itself/);
  assert.match(
    (await policy('explain', ...ends, '--service')).stdout,
    /ClusterNetworkPolicy\/no-bank: namespace bank has no label team/,
  );
});

test('list names tier, priority and what is staged', async () => {
  const { stdout } = await policy('list');
  assert.match(stdout, /^ClusterNetworkPolicy\/no-bank +web +1 rule +- +Admin 10 +\/run\/work\/cnp\/all\.yaml#5$/m);
  assert.match(stdout, /^ClusterNetworkPolicy\/no-mon \(staged: judged, not enforced\) +web +1 rule +- +Baseline 1 /m);
  const listed = JSON.parse((await policy('list', '-o', 'json')).stdout) as readonly {
    tier: string;
    priority: number;
    staged: boolean;
  }[];
  assert.deepEqual(
    listed.map(({ tier, priority, staged }) => [tier, priority, staged]),
    [
      ['Admin', 10, false],
      ['Baseline', 1, true],
    ],
  );
});

test('diff --staged says what promoting would close; without any staged policy nothing changes', async () => {
  const { exit, stdout } = await policy('diff', '--staged');
  assert.equal(exit, 1);
  assert.match(stdout, /- closes {2}mon\/prom to shop\/web\n.*\n +ClusterNetworkPolicy\/no-mon ingress\[0] denies it/);
  const none = await host.run([tollgate, 'policy', 'diff', '--staged', '-f', '/run/work/cnp/all.yaml']);
  assert.equal(none.exit, 0);
  assert.match(none.stderr, /there are no staged policies/);
  assert.match(none.stdout, /^No connection opens or closes\.$/m);
  const nothing = await host.run([tollgate, 'policy', 'diff']);
  assert.equal(nothing.exit, 2);
  assert.match(nothing.stderr, /name the new manifests with -f, or write --staged/);
});

test('diff --staged is 1 for a staged policy that is invalid, and not for one in force', async () => {
  for (const [annotation, wanted] of [
    ['', 0],
    ['annotations: { tollgate.dev/staged: "true" }', 1],
  ] as const) {
    const spec = 'spec: { podSelector: { matchLabels: { app: none } }, egress: [{ to: [{ ipBlock: { cidr: x } }] }] }';
    const kind = 'apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy';
    host.write('/run/work/wrong.yaml', `${kind}\nmetadata: { name: wrong, namespace: shop, ${annotation} }\n${spec}\n`);
    const { exit, stderr } = await host.run([tollgate, 'policy', 'diff', '--staged', '-f', '/run/work/wrong.yaml']);
    assert.equal(exit, wanted, stderr);
    assert.match(stderr, /wrong\.yaml#1 NetworkPolicy\/shop\/wrong .*ipBlock\.cidr/);
  }
});

test('lint names the fields of a cluster policy, and what to write instead', async () => {
  const { exit, stdout } = await host.run([tollgate, 'policy', 'lint', '-f', '/run/work/bad']);
  assert.equal(exit, 1);
  assert.match(
    stdout,
    /^error: .*x\.yaml#1 ClusterNetworkPolicy\/x spec\.subject: An empty entry, so .*write one of namespaces, pods$/m,
  );
  assert.match(
    stdout,
    /^error: .* spec\.ingress\[0]\.action: "Allow" is no action, so the rule denies: write Accept$/m,
  );
  assert.match(stdout, /^error: .* spec\.ingress\[0]\.from\[0]: An empty entry, so the rule denies everything/m);
});
