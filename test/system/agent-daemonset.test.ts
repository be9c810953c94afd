/** The agent as the network of a node, in what a DaemonSet gives it: from a node that has nothing to pods with addresses. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { type Agent, startAgent } from '../support/agent-process.ts';
import {
  add,
  addresses,
  type Call,
  cni,
  errorOf,
  type Json,
  policies,
  runDir,
  silently,
  stateDir,
  tollgate,
} from '../support/cni.ts';
import { KubeHost } from '../support/kube-host.ts';
import { until } from '../support/until.ts';

const confDir = '/run/test/net.d';
const conflist = `${confDir}/10-tollgate.conflist`;
const [own, near, far] = ['n1', 'n2', 'n3'] as const;

/** The node shares a link with `near`; `far` is behind a router. */
function declareNode(host: KubeHost, name: string, podCIDRs: readonly string[], more: Json = {}): void {
  const address = { n1: ['198.51.100.1', '2001:db8:1::1'], n2: ['198.51.100.2', '2001:db8:1::2'], n3: ['192.0.2.9'] }[
    name
  ];
  const listed = address?.map(ip => ({ type: 'InternalIP', address: ip }));
  host.api.put('nodes', {
    metadata: { name },
    spec: { podCIDR: podCIDRs[0], podCIDRs },
    status: { addresses: listed, ...more },
  });
}

async function cluster(): Promise<{ host: KubeHost } & AsyncDisposable> {
  const host = await KubeHost.startCluster();
  await host.host.sh(`mkdir -p ${stateDir} ${runDir} ${confDir}`);
  return { host, [Symbol.asyncDispose]: () => host[Symbol.asyncDispose]() };
}

/** In a container, which does not see the pods' namespaces at their paths. */
function start(host: KubeHost, ...more: readonly string[]): Promise<Agent> {
  const command = [
    ...[tollgate, 'agent', '--kubeconfig', '/run/test/kubeconfig', '--node', own, '--conf-dir', confDir],
    ...['--run-dir', runDir, '--state-dir', stateDir, '--policies', policies, ...more],
  ];
  const script = `mount -t tmpfs tmpfs /run/netns; exec ${command.join(' ')}`;
  return startAgent(host.host, ['unshare', '--mount', '--propagation', 'private', 'sh', '-c', script]);
}

const isThere = (host: KubeHost): boolean => existsSync(host.host.path(conflist));
const written = (host: KubeHost) => until('the conflist', () => isThere(host));

/** As a runtime takes it from the agent's conflist. */
async function podCall(host: KubeHost, name: string): Promise<Call> {
  const { plugins, cniVersions, name: network } = JSON.parse(readFileSync(host.host.path(conflist), 'utf8'));
  host.declare({ name });
  const { args, containerID, netns } = host.podCall({ name }, await host.host.pod());
  return {
    config: { cniVersion: cniVersions.at(-1), name: network, ...plugins[0] },
    args: args!,
    containerID: containerID!,
    netns: netns!,
  };
}

const routes = async (host: KubeHost): Promise<string> =>
  await host.host.sh('ip route show proto 116; ip -6 route show proto 116');

const patches = (host: KubeHost) => host.api.requests.filter(({ method }) => method === 'PATCH');

test('a node becomes ready when the API gives it a CIDR, and pods get addresses of it through the agent’s conflist', async () => {
  await using room = await cluster();
  const { host } = room;
  using agent = await start(host);
  await until('the agent to say what it waits for', () => agent.said(/node n1 has no pod CIDR/));
  assert.equal(isThere(host), false);
  declareNode(host, far, ['10.50.3.0/24']);
  declareNode(host, near, ['10.50.2.0/24', 'fd50:2::/64']);
  declareNode(host, own, ['10.50.1.0/24', 'fd50:1::/64']);
  await written(host);

  const call = await podCall(host, 'web');
  const result = await add(host.host, call);
  assert.deepEqual(addresses(result), ['10.50.1.2', 'fd50:1::2']);
  for (const address of addresses(result)) assert.equal(await host.host.pings(address), true, address);
  await silently(host.host, 'CHECK', { ...call, config: { ...(call.config as Json), prevResult: result } });
  await silently(host.host, 'STATUS', { config: call.config });
  assert.equal(agent.calls('ADD'), 1);

  const there = await routes(host);
  for (const route of [
    /^unreachable 10\.50\.1\.0\/24 /m,
    /^unreachable fd50:1::\/64 /m,
    /^10\.50\.2\.0\/24 via 198\.51\.100\.2 dev near /m,
    /^fd50:2::\/64 via 2001:db8:1::2 dev near /m,
  ])
    assert.match(there, route);
  assert.doesNotMatch(there, /10\.50\.3/);
  await until('it to be told', () => agent.said(/No route to pods of node n3, 10\.50\.3\.0\/24: it shares no link/));
  assert.match(
    await host.host.sh('nft list ruleset'),
    /nomasq4 \{[^}]*10\.50\.1\.0-10\.50\.3\.255|nomasq4 \{[^}]*10\.50\.2\.0/,
  );

  await silently(host.host, 'DEL', call);
  assert.equal((await host.host.run(['ping', '-n', '-c1', '-W3', '10.50.1.2'])).exit === 0, false);
});

test('a node that is given no name has the one by which kubelet registers it', async () => {
  await using room = await cluster();
  const { host } = room;
  declareNode(host, own, ['10.50.1.0/24']);
  const folders = `--conf-dir ${confDir} --run-dir ${runDir} --state-dir ${stateDir} --policies ${policies}`;
  const script = `hostname ${own.toUpperCase()}; exec ${tollgate} agent --kubeconfig /run/test/kubeconfig ${folders}`;
  using _ = await startAgent(host.host, ['unshare', '--uts', 'sh', '-c', script]);
  await written(host);
});

test('the API is told once that the network is available, and not where it knows', async () => {
  await using room = await cluster();
  const { host } = room;
  declareNode(host, own, ['10.50.1.0/24']);
  {
    using agent = await start(host);
    await until('the condition to be set', () => patches(host).length > 0);
    const [patch] = patches(host);
    assert.equal(patch?.path, '/api/v1/nodes/n1/status');
    assert.equal(patch?.headers['content-type'], 'application/strategic-merge-patch+json');
    const { status } = JSON.parse(patch!.body) as { status: { conditions: Json[] } };
    const { type, status: value, reason } = status.conditions[0]!;
    assert.deepEqual({ type, value, reason }, { type: 'NetworkUnavailable', value: 'False', reason: 'TollgateIsUp' });
    await written(host);
    await host.killAgent(agent);
  }
  declareNode(host, own, ['10.50.1.0/24'], { conditions: [{ type: 'NetworkUnavailable', status: 'False' }] });
  const before = patches(host).length;
  using agent = await start(host);
  declareNode(host, near, ['10.50.2.0/24']);
  await until('the next node to be heard', async () => (await routes(host)).includes('10.50.2.0/24'));
  assert.equal(patches(host).length, before);
  await host.killAgent(agent);
});

test('routes follow the nodes, and stay with the conflist when the agent is killed or stopped, unless it is asked', async () => {
  await using room = await cluster();
  const { host } = room;
  declareNode(host, own, ['10.50.1.0/24']);
  declareNode(host, near, ['10.50.2.0/24']);
  const stop = async ({ child }: Agent, signal: NodeJS.Signals): Promise<void> => {
    child.kill(signal);
    await once(child, 'exit');
  };
  using first = await start(host);
  await written(host);
  host.api.remove('nodes', near);
  await until('the route to go', async () => !(await routes(host)).includes('10.50.2.0/24'));
  declareNode(host, near, ['10.50.77.0/24']);
  await until('the new route', async () => (await routes(host)).includes('10.50.77.0/24 via 198.51.100.2'));
  await stop(first, 'SIGTERM');
  const standing = await routes(host);
  using second = await start(host);
  await stop(second, 'SIGKILL');
  assert.equal(await routes(host), standing);
  assert.equal(isThere(host), true);
  using third = await start(host, '--remove-conflist-on-exit');
  await stop(third, 'SIGTERM');
  assert.equal(isThere(host), false);
  assert.equal(await routes(host), standing);
});

test('an MTU that is too small for the family of a pod CIDR keeps the conflist away, and no route', async () => {
  await using room = await cluster();
  const { host } = room;
  declareNode(host, own, ['10.50.1.0/24', 'fd50:1::/64']);
  declareNode(host, near, ['10.50.2.0/24']);
  using agent = await start(host, '--mtu', '1000');
  await until('the agent to say why', () => agent.said(/mtu.* 1280 or more for pods with IPv6 addresses/));
  await until('the route', async () => (await routes(host)).includes('10.50.2.0/24'));
  assert.equal(isThere(host), false);
  declareNode(host, own, ['10.50.1.0/24']);
  await written(host);
  const call = await podCall(host, 'pod');
  assert.equal((await add(host.host, call)).interfaces![0]!.mtu, 1000);
});

test('on a node of another network there is no conflist until that network goes or has to', async () => {
  await using room = await cluster();
  const { host } = room;
  declareNode(host, own, ['10.50.1.0/24']);
  const other = `${confDir}/05-flat.conflist`;
  host.host.write(other, JSON.stringify({ cniVersion: '1.0.0', name: 'flat', plugins: [{ type: 'bridge' }] }));
  {
    using agent = await start(host);
    await until('the agent to say why', () =>
      agent.said(/No conflist is written: .*05-flat\.conflist is another network's/),
    );
    assert.equal(isThere(host), false);
    await host.killAgent(agent);
  }
  using agent = await start(host, '--take-over');
  await written(host);
  await until('the other to be moved', () => !existsSync(host.host.path(other)));
  assert.equal(existsSync(host.host.path(`${other}.before-tollgate`)), true);
  const call = await podCall(host, 'web');
  assert.deepEqual(addresses(await add(host.host, call)), ['10.50.1.2']);
  await silently(host.host, 'DEL', call);
  await host.killAgent(agent);
  // The agent is away for longer than it may be: what closes and releases is carried out all the same.
  const impatient = { ...call, config: { ...(call.config as Json), agentGrace: 0 } };
  assert.equal(errorOf(await cni(host.host, 'ADD', impatient)).code, 11);
  await silently(host.host, 'DEL', call);
});
