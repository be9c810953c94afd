/** The MTU that a pod gets where the configuration names none, on nodes as they are met. */
import assert from 'node:assert/strict';
import test, { suite } from 'node:test';
import { add, cni, config, errorOf, type Ranges, silently, startHost } from '../support/cni.ts';
import { links } from '../support/snapshot.ts';

const v4: Ranges = { v4: '10.77.0.0/24' };
const v6: Ranges = { v6: 'fd77::/64' };
const both: Ranges = { ...v4, ...v6 };

/** A second way out, beside `wire`, of both families. */
const tunnel = (mtu: number) =>
  `ip link add tunnel mtu ${mtu} type veth peer name tunnel2; ip link set tunnel up; ip link set tunnel2 up
   ip addr add 198.51.100.1/24 dev tunnel; ip -6 addr add 2001:db8:9::1/64 dev tunnel nodad`;
const wire = (mtu: number) => `ip link set wire mtu ${mtu}`;
const default4 = 'ip route add default via 192.0.2.2';
const default6 = 'ip -6 route add default via 2001:db8::2';

/** A node on one network, other than those that the documentation of others speaks of. */
const alone = `ip link del wire; ${tunnel(1400)}`;

const rows: readonly (readonly [node: string, setup: string, pod: Ranges, mtu: number])[] = [
  ['with an IPv4 default route', `${wire(9000)}; ${default4}`, both, 9000],
  ['with an IPv6 default route alone', `${wire(9000)}; ${default6}`, v4, 9000],
  ['whose device takes 1200, IPv4 pod', `${default4}; ${wire(1200)}`, v4, 1200],
  ['whose device takes 1200, pod of both families', `${default4}; ${wire(1200)}`, both, 1280],
  [
    'with a way out for each family',
    `${wire(9000)}; ${default4}; ${tunnel(1400)}; ip -6 route add default dev tunnel`,
    both,
    1400,
  ],
  [
    'with a way out for each family, IPv4 pod',
    `${wire(9000)}; ${default4}; ${tunnel(1400)}; ip -6 route add default dev tunnel`,
    v4,
    9000,
  ],
  [
    'with a way out for each family, IPv6 pod',
    `${wire(9000)}; ${default4}; ${tunnel(1400)}; ip -6 route add default dev tunnel`,
    v6,
    1400,
  ],
  [
    'with two next hops, IPv4',
    `${wire(9000)}; ${tunnel(1450)}; ip route add default nexthop via 192.0.2.2 nexthop via 198.51.100.2`,
    v4,
    1450,
  ],
  [
    'with two next hops, IPv6',
    `${wire(9000)}; ${tunnel(1450)}; ip -6 route add default nexthop via 2001:db8::2 nexthop via 2001:db8:9::2`,
    v6,
    1450,
  ],
  ['whose default route has an mtu of its own', `${wire(9000)}; ${default4} mtu 1420`, v4, 1420],
  ['whose IPv6 default route has an mtu of its own', `${wire(9000)}; ${default6} mtu 1420`, v6, 1420],
  ['whose default route allows more than its device', `${wire(1400)}; ${default4} mtu 9000`, v4, 1400],
  ['without a default route', wire(1400), both, 1400],
  ['without a default route, on two networks', `${wire(9000)}; ${tunnel(1440)}`, v4, 1440],
  ['with nothing', 'ip link del wire', both, 1500],
  ['whose device is gone, by a default route to lo', 'ip link del wire; ip route add default dev lo', v4, 1500],
  ...['blackhole', 'prohibit', 'unreachable', 'throw'].flatMap(
    type =>
      [
        [`whose IPv4 default route is ${type}`, `${alone}; ip route add ${type} default`, v4, 1400],
        [`whose IPv6 default route is ${type}`, `${alone}; ip -6 route add ${type} default`, v6, 1400],
        [
          `whose IPv4 default route is ${type}, IPv6 goes out`,
          `${alone}; ip route add ${type} default; ip -6 route add default dev tunnel mtu 1350`,
          both,
          1350,
        ],
      ] as const,
  ),
  ...['blackhole', 'prohibit', 'unreachable'].map(
    type =>
      [
        `with a rule of both families that says ${type}`,
        `${alone}; ip rule add pref 40000 ${type}; ip -6 rule add pref 40000 ${type}`,
        both,
        1400,
      ] as const,
  ),
];

suite('without mtu in its configuration', () => {
  for (const [node, setup, ranges, mtu] of rows) {
    test(`A pod on a node ${node} gets ${mtu}`, async () => {
      using host = await startHost();
      await host.outside();
      await host.sh(setup);
      const call = { config: config({}, ranges), containerID: 'a', netns: await host.pod() };
      const result = await add(host, call);
      assert.deepEqual(
        result.interfaces!.map(each => each.mtu),
        [mtu, mtu],
      );
      assert.equal((await links(host, call.netns)).find(({ name }) => name === 'eth0')?.mtu, mtu);
      const { gateway } = result.ips![0]!;
      assert.ok(await host.pings(gateway!, call.netns), `pod to gateway ${gateway}`);
      await silently(host, 'CHECK', { ...call, config: config({ prevResult: result }, ranges) });
      await silently(host, 'DEL', call);
    });
  }

  test('A pod of another pod’s network does not take its MTU from that pod’s interface', async () => {
    using host = await startHost();
    await add(host, { config: config({ mtu: 1300 }, v6), containerID: 'a', netns: await host.pod() });
    const result = await add(host, { config: config({}, v6), containerID: 'b', netns: await host.pod() });
    assert.equal(result.interfaces![0]!.mtu, 1500);
  });
});

suite('an mtu below 1280 and IPv6', () => {
  const expected = /^Cannot use 1200 for "mtu": expected 1280 or more for pods with IPv6 addresses/;

  test('is refused at once where the ranges of the configuration are IPv6, on ADD and STATUS; DEL goes on', async () => {
    using host = await startHost();
    const small = config({ mtu: 1200 }, both);
    const call = { config: small, containerID: 'a', netns: await host.pod() };
    for (const verb of ['ADD', 'STATUS'] as const) {
      const { code, msg } = errorOf(await cni(host, verb, call));
      assert.equal(code, 7);
      assert.match(msg, expected);
    }
    await silently(host, 'DEL', call);
    await add(host, { ...call, config: config({ mtu: 1200 }, v4) });
  });

  test('is refused, and everything undone, where another IPAM plugin gives an IPv6 address', async () => {
    using host = await startHost();
    const ipam = { type: 'static', addresses: [{ address: 'fd77::7/64', gateway: 'fd77::1' }] };
    const call = {
      config: config({ cniVersion: '1.0.0', mtu: 1200, ipam }),
      containerID: 'a',
      netns: await host.pod(),
    };
    const { code, msg } = errorOf(await cni(host, 'ADD', call));
    assert.equal(code, 7);
    assert.match(msg, expected);
    assert.deepEqual(
      (await links(host)).map(({ name }) => name),
      ['lo'],
    );
  });
});
