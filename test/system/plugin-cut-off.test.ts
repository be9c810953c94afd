/** Whatever cuts a pod off from without or within is seen by CHECK and `tollgate verify`, and mended by `--repair`. */
import assert from 'node:assert/strict';
import test, { after, suite } from 'node:test';
import { typeJson } from '../support/cli-host.ts';
import { add, addresses, cni, config, errorOf, silently, startHost } from '../support/cni.ts';

const host = await startHost();
after(() => host[Symbol.dispose]());

interface Report {
  readonly differences: readonly { readonly about: string; readonly what: string }[];
}

const ranges = { v4: '10.77.0.0/24', v6: 'fd77::/64' };
const plug = async (containerID: string) => {
  const call = { config: config({}, ranges), containerID, netns: await host.pod() };
  return { ...call, result: await add(host, call) };
};
const pod = await plug('pod');
const neighbour = await plug('neighbour');
const link = pod.result.interfaces![0]!.name;
const check = { ...pod, config: config({ prevResult: pod.result }, ranges) };

async function assertReached(when: string): Promise<void> {
  for (const { gateway } of pod.result.ips!)
    assert.ok(await host.pings(gateway!, pod.netns), `${when}: the pod to its gateway ${gateway}`);
  for (const ip of addresses(pod.result)) {
    assert.ok(await host.pings(ip), `${when}: the node to ${ip}`);
    assert.ok(await host.pings(ip, neighbour.netns), `${when}: the other pod to ${ip}`);
  }
}

const other = '02:00:00:00:00:99';

/** What is typed on the node, or in the pod; what is said of it. */
const faults: readonly (readonly [where: 'node' | 'pod', script: string, said: RegExp])[] = [
  ['node', `ip link set ${link} address ${other}`, /has MAC 02:00:00:00:00:99, not/],
  ['node', `ip link set ${link} mtu 900`, /has MTU 900, not 1500/],
  ['node', `ip link set ${link} mtu 9000`, /has MTU 9000, not 1500/],
  ['node', `ip link set ${link} down`, /is down/],
  ['node', `ip link set ${link} down; ip link set ${link} up`, /the route to fd77::\w+ by \S+ is missing/],
  ['node', `ip link add br0 type bridge; ip link set ${link} master br0`, /is a port of link \d+/],
  ['node', `ip addr flush dev ${link}`, /lacks address 10\.77\.0\.1\b/],
  ['node', `ip -6 addr del fd77::1/128 dev ${link}`, /lacks address fd77::1\b/],
  ['node', `ip route flush dev ${link}`, /the route to 10\.77\.0\.\d by \S+ is missing/],
  [
    'node',
    `ip neigh flush nud all dev ${link}; ip -6 neigh flush nud all dev ${link}`,
    /lacks its permanent neighbour 10\.77/,
  ],
  [
    'node',
    `ip neigh replace 10.77.0.2 lladdr ${other} nud permanent dev ${link}`,
    /has neighbour 10\.77\.0\.2 at MAC 02:00:00:00:00:99/,
  ],
  [
    'node',
    `ip -6 neigh replace fd77::2 lladdr ${other} nud permanent dev ${link}`,
    /has neighbour fd77::2 at MAC 02:00:00:00:00:99/,
  ],
  ['node', `echo 0 >/proc/sys/net/ipv4/conf/${link}/forwarding`, /ipv4\/conf\/\S+\/forwarding is 0, not 1/],
  ['node', `echo 0 >/proc/sys/net/ipv4/conf/${link}/arp_filter`, /ipv4\/conf\/\S+\/arp_filter is 0, not 1/],
  ['node', `echo 1 >/proc/sys/net/ipv6/conf/${link}/disable_ipv6`, /ipv6\/conf\/\S+\/disable_ipv6 is 1, not 0/],
  ['node', 'echo 0 >/proc/sys/net/ipv4/ip_forward', /net\/ipv4\/ip_forward/],
  ['node', 'echo 0 >/proc/sys/net/ipv6/conf/all/forwarding', /net\/ipv6\/conf\/all\/forwarding/],
  ['pod', `ip link set eth0 address ${other}`, /eth0 has MAC 02:00:00:00:00:99/],
  ['pod', 'ip link set eth0 down', /eth0 is down/],
  ['pod', 'ip link set eth0 mtu 9000', /eth0 has MTU 9000, more than the 1500/],
  ['pod', 'ip addr flush dev eth0', /eth0 lacks address 10\.77\.0\.2/],
  ['pod', 'ip -6 addr del fd77::2/128 dev eth0', /eth0 lacks address fd77::2/],
  ['pod', 'ip route del default', /lacks its route to 0\.0\.0\.0\/0/],
  ['pod', 'ip -6 route del default', /lacks its route to ::\/0/],
  ['pod', 'ip route flush dev eth0', /lacks its route to 10\.77\.0\.1\/32/],
  [
    'pod',
    `ip neigh replace 10.77.0.1 lladdr ${other} nud permanent dev eth0`,
    /eth0 has neighbour 10\.77\.0\.1 at MAC/,
  ],
  ['pod', 'ip -6 neigh del fd77::1 dev eth0', /eth0 lacks its permanent neighbour fd77::1/],
  ['pod', 'echo 1 >/proc/sys/net/ipv6/conf/eth0/disable_ipv6', /eth0 lacks address fd77::2/],
];

suite('a pod that is cut off', () => {
  for (const [where, script, said] of faults)
    test(`in the ${where}: ${script.replaceAll(link, 'tg…')}`, async () => {
      await silently(host, 'CHECK', check);
      await host.sh(script, where === 'pod' ? pod.netns : undefined);
      const { code, msg } = errorOf(await cni(host, 'CHECK', check));
      assert.equal(code, 104);
      assert.match(msg, said);
      const { differences } = await typeJson<Report>(host, ['verify'], 1);
      assert.ok(
        differences.some(({ what, about }) => said.test(`${about} ${what}`)),
        JSON.stringify(differences),
      );
      await typeJson<Report>(host, ['verify', '--repair'], 0);
      const { differences: left } = await typeJson<Report>(host, ['verify'], 0);
      assert.deepEqual(left, []);
      await silently(host, 'CHECK', check);
      await assertReached('after the repair');
      await host.sh('ip link del br0 2>/dev/null || true');
    });
});

test('a pod whose interface was moved to another namespace is told of', async () => {
  const moved = await plug('moved');
  const elsewhere = await host.pod();
  await host.sh(`ip link set eth0 netns ${elsewhere}`, moved.netns);
  const { differences } = await typeJson<Report>(host, ['verify'], 1);
  assert.ok(
    differences.some(({ what }) => what.includes('is not the other end of')),
    JSON.stringify(differences),
  );
  await silently(host, 'DEL', moved);
});
