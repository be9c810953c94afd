/** The Kubernetes agent as seen from outside: by a person's commands, by Prometheus, and by probes. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Agent } from '../support/agent-process.ts';
import { type Json, runDir } from '../support/cni.ts';
import { KubeHost } from '../support/kube-host.ts';
import { onlyFrom } from '../support/policy-host.ts';
import { until } from '../support/until.ts';

const role = (name: string) => ({ role: name });
const fromFriends = onlyFrom('x', role('web'), role('friend'))['spec'] as Json;

async function busy() {
  const host = await KubeHost.startCluster();
  const agent = await host.startAgent('--metrics', '127.0.0.1:9467');
  host.policy('web', fromFriends);
  const web = await host.run({ name: 'web', labels: role('web') });
  const friend = await host.run({ name: 'friend', labels: role('friend') });
  const stranger = await host.run({ name: 'stranger' });
  return {
    ...{ host, agent, web, friend, stranger },
    async [Symbol.asyncDispose]() {
      for (const each of [web, friend, stranger, agent]) each[Symbol.dispose]();
      await host[Symbol.asyncDispose]();
    },
  };
}

const explain = (host: KubeHost, from: string) =>
  host.type([
    'policy',
    'explain',
    '--from',
    `default/${from}`,
    '--to',
    'default/web',
    '--port',
    '80/TCP',
    '-o',
    'json',
  ]);

test('questions about policy are answered by what the agent has heard', async () => {
  await using room = await busy();
  const { host, friend, stranger, web } = room;
  assert.equal(host.reaches(friend, web), true);
  assert.equal(host.reaches(stranger, web), false);
  assert.equal((await explain(host, 'friend')).exit, 0);
  const denied = await explain(host, 'stranger');
  assert.equal(denied.exit, 1, denied.stderr);
  assert.match(denied.stdout, /NetworkPolicy\/default\/web/);
  const listed = await host.type(['policy', 'list', '-o', 'json']);
  assert.match(listed.stdout, /NetworkPolicy\/default\/web/);
  assert.equal((await host.type(['policy', 'lint'])).exit, 0);
  const opens = {
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    metadata: { name: 'web', namespace: 'default' },
  };
  host.host.write(
    '/run/test/new.yaml',
    JSON.stringify({ ...opens, spec: { podSelector: { matchLabels: role('web') }, ingress: [{}] } }),
  );
  const diff = await host.type(['policy', 'diff', '-f', '/run/test/new.yaml', '-o', 'json']);
  const { changes } = JSON.parse(diff.stdout) as { changes: { change: string; from: string[] }[] };
  assert.ok(changes.length > 0 && changes.every(({ change }) => change === 'opens'), diff.stdout);
  assert.ok(
    changes.some(({ from }) => from.includes('default/stranger')) &&
      !changes.some(({ from }) => from.includes('default/friend')),
  );
});

test('a pod that has moved to another node, and of which a container is left here, is no error of its manifests', async () => {
  await using room = await busy();
  const { host } = room;
  host.declare({ name: 'stranger', uid: 'moved', node: 'n2', ip: '10.99.0.7' });
  host.declare({ name: 'beside', node: 'n2', ip: '10.99.0.8' });
  await until('what the API said to be heard', async () => (await explain(host, 'beside')).exit === 1);
  const { exit, stdout, stderr } = await host.type(['policy', 'lint']);
  assert.equal(exit, 0, stdout + stderr);
  assert.equal((await explain(host, 'stranger')).exit, 1);
});

test('without the agent they are not answered from a world without policies', async () => {
  await using room = await busy();
  const { host, agent } = room;
  await host.killAgent(agent);
  const { exit, stderr } = await explain(host, 'stranger');
  assert.equal(exit, 3);
  assert.match(stderr, /Cannot ask the agent of this node/);
  const verified = await host.type(['verify', '-o', 'json']);
  assert.equal(verified.exit, 1);
  assert.match(verified.stdout, /was not compared/);
  assert.equal((await host.host.run([...status])).exit, 3);
  const applied = await host.type(['policy', 'apply']);
  assert.equal(applied.exit, 3);
  assert.match(applied.stderr, /kubectl apply/);
});

test('without the agent verify still sees that there is no gate', async () => {
  await using room = await busy();
  const { host, agent } = room;
  await host.killAgent(agent);
  for (const [script, said] of [
    ['nft flush table inet tollgate', /table inet tollgate: holds no rule, as after .*: no pod is gated/],
    ['nft delete table inet tollgate', /table inet tollgate: is gone: no pod is gated/],
  ] as const) {
    assert.doesNotMatch((await host.type(['verify'])).stdout, said);
    await host.host.sh(script);
    const { exit, stdout } = await host.type(['verify']);
    assert.equal(exit, 1);
    assert.match(stdout, said);
  }
});

const status = [
  process.env['TOLLGATE'] ?? new URL('../../dist/tollgate', import.meta.url).pathname,
  'status',
  '--run-dir',
  runDir,
];

test('status says what it knows, what it waits for, and how old it is', async () => {
  await using room = await busy();
  const { host } = room;
  // A watch comes up in its own time after the list that the agent serves by.
  const { exit, stdout } = await until('all watches to be up', async () => {
    const told = await host.host.run([...status, '-o', 'json']);
    return told.stdout.includes('"isUp": false') ? undefined : told;
  });
  assert.equal(exit, 1, 'the node has no pod CIDR');
  const found = JSON.parse(stdout) as {
    isServing: boolean;
    waitsFor: string[];
    pods: number;
    watches: { resource: string; isUp: boolean; objects: number }[];
  };
  assert.equal(found.isServing, true);
  assert.match(found.waitsFor.join(), /no pod CIDR/);
  assert.equal(found.pods, 3);
  assert.deepEqual(
    found.watches.map(({ resource, isUp, objects }) => [resource, isUp, objects]),
    [
      ['pods', true, 3],
      ['namespaces', true, 2],
      ['networkpolicies', true, 1],
      ['nodes', true, 1],
      ['clusternetworkpolicies', true, 0],
      ['adminnetworkpolicies', true, 0],
      ['baselineadminnetworkpolicies', true, 0],
    ],
  );
  const text = await host.host.run(status);
  assert.match(text.stdout, /Not ready\.\n {2}waits for node n1 has no pod CIDR/);
});

/** What commands that ask the agent say of one that is stopped, on stdout or stderr, and their exit codes. */
const ofStopped: Readonly<Record<string, readonly [exit: number, said: RegExp]>> = {
  status: [3, /an agent was last seen \d+ s ago[\s\S]*Cannot ask the agent/],
  verify: [1, /table inet tollgate: was not compared: [\s\S]*the process that records flows/],
  'verify --repair': [3, /Cannot ask the agent/],
  gc: [3, /Cannot ask the agent/],
  flows: [3, /Cannot show flows: Cannot ask the agent/],
  'flows --follow': [3, /Cannot show flows: Cannot ask the agent/],
  'flows --denied': [3, /Cannot show flows: Cannot ask the agent/],
  'flows --sum pod': [3, /Cannot show flows: Cannot ask the agent/],
  'flows --open': [3, /Cannot ask the agent/],
  'policy list': [3, /Cannot ask the agent/],
  'policy matrix --port 80/TCP': [3, /Cannot ask the agent/],
};

/** Stops the agent while it holds no lock of the node, which commands would wait for. */
async function stop({ host }: KubeHost, { child }: Agent): Promise<void> {
  const isFree = `for lock in ${runDir}/[0-9]*.lock; do [ ! -e $lock ] || flock --nonblock $lock true || exit 1; done`;
  await until('the agent to hold no lock', async () => {
    child.kill('SIGSTOP');
    if ((await host.run(['sh', '-c', isFree])).exit === 0) return true;
    child.kill('SIGCONT');
    return false;
  });
}

test('a stopped agent is named by all that ask it, with what to do; one that goes on answers them', async () => {
  const host = await KubeHost.startCluster();
  await using _host = host;
  using agent = await host.startAgent('--flows');
  await stop(host, agent);
  const asked = Object.entries(ofStopped).map(async ([command, [exit, said]]) => {
    const found = await (command === 'status' ? host.host.run(status) : host.type(command.split(' ')));
    const text = `${found.stdout}${found.stderr}`;
    assert.equal(found.exit, exit, `${command}: ${text}`);
    assert.match(text, said);
    assert.match(
      text,
      new RegExp(`its process ${agent.child.pid} stands still: it is stopped[\\s\\S]*kill -CONT`),
      command,
    );
  });
  await Promise.all(asked);
  agent.child.kill('SIGCONT');
  assert.match((await host.host.run(status)).stdout, /^Agent of node n1/);
});

test('verify compares through the agent, and repairs and collects by it', async () => {
  await using room = await busy();
  const { host, web } = room;
  const fine = await host.type(['verify', '-o', 'json']);
  assert.deepEqual((JSON.parse(fine.stdout) as { differences: unknown }).differences, []);
  await web.end[Symbol.dispose]();
  await host.host.sh(`ip link delete ${web.link}`);
  const foretold = await host.type(['gc', '--dry-run', '-o', 'json']);
  assert.equal(foretold.exit, 0, foretold.stderr);
  assert.equal((JSON.parse(foretold.stdout) as { dryRun: boolean }).dryRun, true);
  const { exit, stdout, stderr } = await host.type(['gc', '-o', 'json']);
  assert.equal(exit, 0, stderr);
  const { undone } = JSON.parse(stdout) as { undone: { pod: string }[] };
  const left = await host.words();
  assert.ok(undone.some(({ pod }) => pod === 'default/web') || !left.includes('default/web'));
  assert.ok(!left.includes('"default/web"'));
});

/** One line of the exposition format. */
const sample = /^([a-z_][a-z0-9_]*)(\{[a-z]+="(?:[^"\\]|\\.)*"(?:,[a-z]+="(?:[^"\\]|\\.)*")*\})? (-?[0-9.e+-]+)$/;

test('metrics are what Prometheus reads, and count what happened', async () => {
  await using room = await busy();
  const { host, stranger, web } = room;
  assert.equal(host.reaches(stranger, web), false);
  const get = (path: string) =>
    host.host.run([
      'bash',
      '--norc',
      '-c',
      `exec 3<>/dev/tcp/127.0.0.1/9467; printf 'GET ${path} HTTP/1.0\\r\\n\\r\\n' >&3; cat <&3`,
    ]);
  const [head, body] = (await get('/metrics')).stdout.split('\r\n\r\n');
  assert.match(head!, /200 OK/);
  const lines = body!.trimEnd().split('\n');
  const values = new Map<string, number>();
  let typed = '';
  for (const line of lines) {
    const [, name, type] = /^# TYPE (\S+) (counter|gauge|histogram)$/.exec(line) ?? [];
    if (name) {
      typed = name;
      assert.ok(type !== 'counter' || name.endsWith('_total'), name);
    } else if (!line.startsWith('# HELP ')) {
      const [, metric, labels = '', value] = sample.exec(line) ?? assert.fail(`no sample: ${line}`);
      assert.ok(metric!.startsWith(typed), line);
      assert.ok(!values.has(metric! + labels), `twice: ${line}`);
      values.set(metric! + labels, Number(value));
    }
  }
  assert.equal(values.get('tollgate_pods'), 3);
  assert.equal(values.get('tollgate_serving'), 1);
  assert.equal(values.get('tollgate_cni_calls_total{verb="ADD",code="0"}'), 3);
  assert.equal(values.get('tollgate_objects{resource="pods"}'), 3);
  assert.ok(values.get('tollgate_dropped_packets_total{direction="ingress",policy="NetworkPolicy/default/web"}')! > 0);
  assert.ok(values.get('tollgate_event_to_kernel_seconds_count')! > 0);
  assert.match((await get('/healthz')).stdout, /200 OK/);
  assert.match((await get('/readyz')).stdout, /503[\s\S]*no pod CIDR/);
  assert.match((await get('/manifests')).stdout, /404/, 'for root alone');
});

const readinessOf = (host: KubeHost, path = '/readyz') =>
  host.host.run([
    'bash',
    '--norc',
    '-c',
    `exec 3<>/dev/tcp/127.0.0.1/9467; printf 'GET ${path} HTTP/1.0\\r\\n\\r\\n' >&3; cat <&3`,
  ]);

const nodeWith = (name: string, podCIDR: string, address: string, creationTimestamp: string) => ({
  metadata: { name, creationTimestamp },
  spec: { podCIDR, podCIDRs: [podCIDR] },
  status: { addresses: [{ type: 'InternalIP', address }] },
});

test('pod CIDRs that contradict each other are named by status and readiness; the older node stays ready', async () => {
  await using host = await KubeHost.startCluster();
  host.api.put('nodes', nodeWith('n1', '10.50.1.0/24', '198.51.100.1', '2026-01-02T00:00:00Z'));
  host.api.put('nodes', nodeWith('n2', '10.50.0.0/16', '198.51.100.2', '2026-01-03T00:00:00Z'));
  host.api.put('nodes', nodeWith('n3', '169.254.169.254/32', '198.51.100.3', '2026-01-01T00:00:00Z'));
  host.api.put('nodes', nodeWith('n4', '10.60.4.0/24', '198.51.100.4', '2026-01-01T00:00:00Z'));
  host.api.put('nodes', nodeWith('n5', '10.50.5.0/24', '198.51.100.5', '2026-01-05T00:00:00Z'));
  using _ = await host.startAgent('--metrics', '127.0.0.1:9467', '--cluster-cidr', '10.50.0.0/16');
  const routes = async () =>
    (await host.host.sh('ip route show proto 116'))
      .trim()
      .split('\n')
      .map(line => line.trim());
  await until('the routes', async () => {
    const found = await routes();
    return found.length > 1 && found.some(line => line.startsWith('10.50.5.0/24 via 198.51.100.5'));
  });
  assert.equal((await routes()).length, 2, 'this node’s own, and that one');
  await until('readiness', async () => /200 OK/.test((await readinessOf(host)).stdout));
  const ready = (await readinessOf(host)).stdout;
  assert.match(ready, /node n2, 10\.50\.0\.0\/16: it contains 10\.50\.\d\.0\/24 of node n\d/);
  for (const why of [
    /169\.254\.169\.254\/32: pods have no addresses/,
    /10\.60\.4\.0\/24: it is outside of --cluster-cidr/,
  ])
    assert.match(ready, why);
  assert.match((await host.host.run([...status])).stdout, /problem: No route to pods of node n2, 10\.50\.0\.0\/16: /);
  host.api.put('nodes', nodeWith('n0', '10.50.1.128/25', '198.51.100.9', '2025-01-01T00:00:00Z'));
  await until('an older one to make this node wait', async () => /503/.test((await readinessOf(host)).stdout));
  assert.match((await readinessOf(host)).stdout, /contains 10\.50\.1\.128\/25 of node n0/);
  for (const path of ['/healthz', '/livez']) assert.match((await readinessOf(host, path)).stdout, /200 OK/);
});

test('a broken asker harms nobody', async () => {
  await using room = await busy();
  const { host } = room;
  await host.host.run([
    'bash',
    '--norc',
    '-c',
    'for i in $(seq 80); do exec {fd}<>/dev/tcp/127.0.0.1/9467 && echo nonsense >&$fd; done; true',
  ]);
  await until('another one to be answered', async () => (await host.host.run([...status])).exit === 1);
  using more = await host.run({ name: 'more' });
  assert.ok(host.groupOf(more) > 0);
});
