/** One container in several networks, as `podman run --network a,b` and multus make it: each is reached in each of them. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { add, addresses, cni, config, errorOf, type Json, type Result, silently, startHost } from '../support/cni.ts';
import type { Host } from '../support/host.ts';

/** A network of tollgate: with the routes of its IPAM where they are given. */
const ours = (name: string, n: number, ipam: Json = {}): Json => {
  const ranges = [[{ subnet: `10.${n}.0.0/24` }], [{ subnet: `fd00:${n}::/64` }]];
  return config({ name, ipam: { type: 'tollgate-ipam', ranges, ...ipam } });
};

/** A network of Debian's plugins, with addresses of host-local. */
const others = (type: 'bridge' | 'ptp', name: string, n: number): Json => ({
  cniVersion: '1.0.0',
  name,
  type,
  ...(type === 'bridge' ? { bridge: `br${n}`, isDefaultGateway: true } : {}),
  ipam: {
    type: 'host-local',
    dataDir: '/run/test/host-local',
    ranges: [[{ subnet: `10.${n}.0.0/24` }], [{ subnet: `fd00:${n}::/64` }]],
    ...(type === 'ptp' ? { routes: [{ dst: '0.0.0.0/0' }, { dst: '::/0' }] } : {}),
  },
});

const isOurs = ({ type }: Json): boolean => type === 'tollgate';

/** In the order in which the container is plugged into them. */
const scenarios: Readonly<Record<string, readonly Json[]>> = {
  'two of ours': [ours('one', 71), ours('two', 72)],
  'three of ours': [ours('one', 71), ours('two', 72), ours('three', 73)],
  'bridge, then ours': [others('bridge', 'one', 71), ours('two', 72)],
  'ours, then bridge': [ours('one', 71), others('bridge', 'two', 72)],
  'ptp, then ours': [others('ptp', 'one', 71), ours('two', 72)],
  'ours, then ptp': [ours('one', 71), others('ptp', 'two', 72)],
  'ours whose routes cover all subnets, then another such': [
    ours('one', 71, { routes: [{ dst: '10.0.0.0/8' }, { dst: 'fd00::/16' }] }),
    ours('two', 72, { routes: [{ dst: '10.0.0.0/8' }, { dst: 'fd00::/16' }] }),
  ],
};

interface Plugged {
  readonly network: Json;
  readonly ifname: string;
  readonly netns: string;
  readonly result: Result;
}

const callOf = ({ network, ifname, netns }: Omit<Plugged, 'result'>, containerID: string) => ({
  config: network,
  containerID,
  ifname,
  netns,
  plugin: String(network['type']),
});

const plug = async (
  host: Host,
  network: Json,
  containerID: string,
  netns: string,
  ifname: string,
): Promise<Plugged> => {
  const where = { network, ifname, netns };
  return { ...where, result: await add(host, callOf(where, containerID)) };
};

/** The container, and in each of its networks a neighbour. */
async function plugAll(host: Host, networks: readonly Json[]) {
  const netns = await host.pod();
  const mine: Plugged[] = [];
  const neighbours: Plugged[] = [];
  for (const [i, network] of networks.entries()) {
    mine.push(await plug(host, network, 'mine', netns, `eth${i}`));
    neighbours.push(await plug(host, network, 'neighbour', await host.pod(), 'eth0'));
  }
  return { netns, mine, neighbours };
}

async function assertReached(host: Host, { mine, neighbours }: Awaited<ReturnType<typeof plugAll>>, when: string) {
  for (const [i, { result, network }] of mine.entries())
    for (const ip of addresses(result)) {
      assert.ok(await host.pings(ip, neighbours[i]!.netns), `${when}: ${network['name']}, its neighbour to ${ip}`);
      assert.ok(await host.pings(ip), `${when}: ${network['name']}, the node to ${ip}`);
    }
}

for (const [name, networks] of Object.entries(scenarios)) {
  test(`A container in ${name} is reached in each by node and neighbours, also after DEL of the first`, async () => {
    // The bridge's own address is the bridge plugin's affair, who lets it wait for duplicates of it.
    using host = await startHost({ setup: 'echo 0 >/proc/sys/net/ipv6/conf/default/accept_dad' });
    const plugged = await plugAll(host, networks);
    await assertReached(host, plugged, 'after ADD');
    for (const { result, ...where } of plugged.mine.filter(({ network }) => isOurs(network)))
      await silently(host, 'CHECK', {
        ...callOf({ ...where, network: { ...where.network, prevResult: result } }, 'mine'),
      });
    const [first, ...rest] = plugged.mine;
    await silently(host, 'DEL', callOf(first!, 'mine'));
    await assertReached(
      host,
      { ...plugged, mine: rest, neighbours: plugged.neighbours.slice(1) },
      'after DEL of the first',
    );
  });
}

test('the default route is that of the first network, and of the next when the first is unplugged', async () => {
  using host = await startHost();
  const outside = await host.outside();
  const { mine, netns } = await plugAll(host, scenarios['two of ours']!);
  const leavesBy = async (target: string) => /dev (\S+)/.exec(await host.sh(`ip route get ${target}`, netns))?.[1];
  for (const target of ['192.0.2.2', '2001:db8::2']) assert.equal(await leavesBy(target), 'eth0');
  await silently(host, 'DEL', callOf(mine[0]!, 'mine'));
  for (const target of ['192.0.2.2', '2001:db8::2']) {
    assert.equal(await leavesBy(target), 'eth1');
    assert.ok(await host.pings(target, netns), `the container to ${target}`);
  }
  for (const ip of addresses(mine[1]!.result)) assert.ok(await host.pings(ip, outside), `from outside to ${ip}`);
  const again = await plug(host, scenarios['two of ours']![0]!, 'mine', netns, 'eth0');
  for (const target of ['192.0.2.2', '2001:db8::2']) assert.equal(await leavesBy(target), 'eth0');
  await silently(host, 'DEL', callOf(again, 'mine'));
});

test('a container twice in one network is reached by the first interface, and by the second when the first goes', async () => {
  using host = await startHost();
  const outside = await host.outside();
  const netns = await host.pod();
  const first = await plug(host, ours('one', 71), 'mine', netns, 'eth0');
  const second = await plug(host, ours('one', 71), 'mine', netns, 'eth1');
  await silently(host, 'CHECK', {
    ...callOf({ ...second, network: { ...second.network, prevResult: second.result } }, 'mine'),
  });
  for (const ip of addresses(first.result)) assert.ok(await host.pings(ip, outside), `from outside to ${ip}`);
  await silently(host, 'DEL', callOf(first, 'mine'));
  for (const ip of addresses(second.result)) assert.ok(await host.pings(ip, outside), `from outside to ${ip}`);
  await silently(host, 'DEL', callOf(second, 'mine'));
});

test('two networks whose IPAM names no gateway share the link-local one, and each reaches its neighbours', async () => {
  using host = await startHost();
  const bare = (name: string, n: number, own: number): Json => {
    const given = [`10.${n}.0.${own}/24`, `fd00:${n}::${own}/64`];
    return config({
      name,
      cniVersion: '1.0.0',
      ipam: { type: 'static', addresses: given.map(address => ({ address })) },
    });
  };
  const netns = await host.pod();
  const first = await plug(host, bare('one', 71, 2), 'mine', netns, 'eth0');
  const second = await plug(host, bare('two', 72, 2), 'mine', netns, 'eth1');
  const neighbour = await plug(host, bare('two', 72, 3), 'neighbour', await host.pod(), 'eth0');
  for (const when of ['before', 'after']) {
    for (const ip of addresses(second.result))
      assert.ok(await host.pings(ip, neighbour.netns), `${when} DEL of the first, the neighbour to ${ip}`);
    if (when === 'before') await silently(host, 'DEL', callOf(first, 'mine'));
  }
});

test('a route of table 0, which the kernel takes for the main one, is there for CHECK', async () => {
  using host = await startHost();
  const routes = [{ dst: '192.0.2.0/24', table: 0 }];
  const network = config({ ipam: { type: 'tollgate-ipam', subnet: '10.71.0.0/24', routes } });
  const call = { config: network, containerID: 'a', netns: await host.pod() };
  const result = await add(host, call);
  await silently(host, 'CHECK', { ...call, config: { ...network, prevResult: result } });
});

test('a gateway that is the address of a running pod is refused by its name, and that pod goes on to be reached', async () => {
  using host = await startHost();
  const through = (gateway: string) =>
    config({ ipam: { type: 'tollgate-ipam', subnet: '10.71.0.0/24', ...(gateway ? { gateway } : {}) } });
  const [address] = addresses(await add(host, { config: through(''), containerID: 'a', netns: await host.pod() }));
  const later = { config: through(address!), containerID: 'b', netns: await host.pod() };
  const { code, msg } = errorOf(await cni(host, 'ADD', later));
  assert.deepEqual([code, /10\.71\.0\.2 as the gateway of pods: .* pod default\/a /.test(msg)], [7, true], msg);
  assert.equal(await host.pings(address!), true);
});

test('networks that disagree on what holds for the whole node: the ADD that changes it says so', async () => {
  using host = await startHost();
  const plugIn = async (name: string, n: number, more: Json) => {
    const network = { ...config(more, { v4: `10.7${n}.0.0/24` }), name };
    const { exit, stderr } = await cni(host, 'ADD', { config: network, containerID: name, netns: await host.pod() });
    assert.equal(exit, 0, stderr);
    return stderr;
  };
  assert.equal(await plugIn('first', 1, { enforceEgressToNode: true }), '');
  assert.match(
    await plugIn('second', 2, {}),
    /^enforceEgressToNode was true and is false by now for all pods of the node/,
  );
  assert.equal(await plugIn('third', 3, {}), '');
});

test('CHECK notices that the route to a subnet is gone, of the first network and of the second', async () => {
  using host = await startHost();
  const { mine, netns } = await plugAll(host, scenarios['two of ours']!);
  for (const [i, subnet] of ['10.71.0.0/24', 'fd00:72::/64'].entries()) {
    const { network, ifname, result } = mine[i]!;
    const call = callOf({ network: { ...network, prevResult: result }, ifname, netns }, 'mine');
    await silently(host, 'CHECK', call);
    await host.sh(`ip route del ${subnet} dev eth${i}`, netns);
    const { code, msg } = errorOf(await cni(host, 'CHECK', call));
    assert.equal(code, 104);
    assert.ok(msg.includes(`route to ${subnet}`), msg);
  }
});
