/** What ADD makes, seen from inside the pod, from the node, and from the pod next door. */
import assert from 'node:assert/strict';
import test, { suite } from 'node:test';
import {
  add,
  addresses,
  type Call,
  cni,
  config,
  errorOf,
  type Json,
  type Ranges,
  silently,
  startHost,
  warm,
} from '../support/cni.ts';
import type { Host } from '../support/host.ts';
import { assertNothingLeft, isTag, links, snapshot, tagged } from '../support/snapshot.ts';

const families: Readonly<Record<string, Ranges>> = {
  'IPv4 alone': { v4: '10.77.0.0/24' },
  'IPv6 alone': { v6: 'fd77::/64' },
  'both families': { v4: '10.77.0.0/24', v6: 'fd77::/64' },
};

/** Hosts as they are met, from a machine on a network to one that has nothing. */
const hosts: Readonly<Record<string, (host: Host) => Promise<unknown>>> = {
  'with a default route': async host => {
    await host.outside();
    await host.sh('ip route add default via 192.0.2.2; ip route add default via 2001:db8::2');
  },
  'with a network but no default route': host => host.outside(),
  'with nothing but lo': async () => {},
};

const plug = async (host: Host, configuration: Json, containerID: string, more: Partial<Call> = {}) => {
  const netns = await host.pod();
  const call = { config: configuration, containerID, netns, ...more };
  const result = await add(host, call);
  return { call, netns, result, ips: addresses(result) };
};

for (const [which, prepare] of Object.entries(hosts)) {
  for (const [name, ranges] of Object.entries(families)) {
    test(`On a host ${which}, pods of ${name} reach gateway, each other and the node at the first packet`, async () => {
      using host = await startHost();
      await prepare(host);
      await warm(host, config({}, ranges));
      const before = await snapshot(host);
      const a = await plug(host, config({}, ranges), 'a');
      for (const { gateway } of a.result.ips!)
        assert.ok(await host.pings(gateway!, a.netns), `pod to gateway ${gateway}`);
      const b = await plug(host, config({}, ranges), 'b');
      assert.equal(a.ips.length, Object.keys(ranges).length);
      for (const ip of b.ips) {
        const family = ip.includes(':') ? 6 : 4;
        assert.ok(await host.pings(ip), `node to pod ${ip}`);
        assert.ok(await host.pings(ip, a.netns), `pod to pod ${ip}`);
        await host.serve('b', 'tcp', 80, b.netns, family);
        const own = a.ips.find(candidate => candidate.includes(':') === ip.includes(':'));
        assert.equal(await host.ask('tcp', ip, 80, a.netns), `b ${own}`);
        assert.match((await host.ask('tcp', ip, 80)) ?? '', /^b /);
      }
      for (const { call, result } of [a, b]) {
        await silently(host, 'CHECK', { ...call, config: config({ prevResult: result }, ranges) });
        await silently(host, 'DEL', call);
      }
      await assertNothingLeft(host, before);
    });
  }
}

const dual = config({}, { v4: '10.77.0.0/24', v6: 'fd77::/64' });

suite('the interface', () => {
  test('has no tentative address on either side when ADD returns', async () => {
    using host = await startHost();
    const { netns, result } = await plug(host, dual, 'a');
    const inPod = await host.sh('ip -6 addr show dev eth0', netns);
    const onHost = await host.sh(`ip -6 addr show dev ${result.interfaces![0]!.name}`);
    assert.match(inPod, /fd77::/);
    assert.doesNotMatch(`${inPod}${onHost}`, /tentative|dadfailed/);
  });

  test('works in a namespace where IPv6 is disabled, as runtimes leave it', async () => {
    using host = await startHost();
    const netns = await host.pod();
    await host.sh('for c in all default lo; do echo 1 >/proc/sys/net/ipv6/conf/$c/disable_ipv6; done', netns);
    const result = await add(host, { config: dual, containerID: 'a', netns });
    for (const { gateway } of result.ips!) assert.ok(await host.pings(gateway!, netns), `gateway ${gateway}`);
    for (const ip of addresses(result)) assert.ok(await host.pings(ip), ip);
  });

  test('brings lo of the pod up, or finds it so', async () => {
    using host = await startHost();
    const { netns } = await plug(host, config(), 'a');
    await host.sh('ip link set lo up', netns);
    assert.ok(await host.pings('127.0.0.1', netns));
  });

  test('carries a tag as its group, and an alias that names the pod', async () => {
    using host = await startHost();
    const args =
      'IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=till-7;K8S_POD_INFRA_CONTAINER_ID=f00;K8S_POD_UID=1-2-3';
    const { result } = await plug(host, config(), 'f00', { args });
    const link = (await links(host)).find(({ name }) => name === result.interfaces![0]!.name);
    assert.ok(link && isTag(link.group), JSON.stringify(link));
    assert.equal(link.alias, 'tollgate:shop/till-7:f00');
    const plain = await plug(host, config(), 'f01');
    const other = (await links(host)).find(({ name }) => name === plain.result.interfaces![0]!.name);
    assert.equal(other?.alias, 'tollgate:default/f01:f01');
  });

  test('is told by network, container and ifname alone: name and MACs come back with the pod', async () => {
    using host = await startHost();
    const look = async () => {
      const { call, result } = await plug(host, config(), 'same');
      await silently(host, 'DEL', call);
      return result.interfaces!.map(({ name, mac }) => `${name} ${mac}`);
    };
    const first = await look();
    assert.deepEqual(await look(), first);
    for (const line of first) assert.match(line, / [0-9a-f][26ae]:/, 'locally administered, not multicast');
    const other = await plug(host, config(), 'other');
    assert.equal(new Set([...first, ...other.result.interfaces!.map(({ name, mac }) => `${name} ${mac}`)]).size, 4);
  });

  test('has the MTU that is asked for, on both ends, and in the result', async () => {
    using host = await startHost();
    const { netns, result } = await plug(host, config({ mtu: 1400 }), 'a');
    assert.deepEqual(
      result.interfaces!.map(({ mtu }) => mtu),
      [1400, 1400],
    );
    assert.equal((await links(host, netns)).find(({ name }) => name === 'eth0')?.mtu, 1400);
    assert.equal((await tagged(host))[0]?.mtu, 1400);
  });

  test('takes the MTU of the device with the default route where none is asked for', async () => {
    using host = await startHost();
    const outside = await host.outside();
    await host.sh(
      `ip link set wire mtu 9000; ip -n ${outside} link set wire mtu 9000; ip route add default via 192.0.2.2`,
    );
    const { netns } = await plug(host, config(), 'a');
    assert.equal((await links(host, netns)).find(({ name }) => name === 'eth0')?.mtu, 9000);
  });

  test('a pod may have two of them, of two networks', async () => {
    using host = await startHost();
    const first = await plug(host, config(), 'a');
    const second = config({ name: 'second' }, { v4: '10.79.0.0/24' });
    const call = { config: second, containerID: 'a', ifname: 'net1', netns: first.netns };
    const result = await add(host, call);
    for (const ip of [...first.ips, ...addresses(result)]) assert.ok(await host.pings(ip), ip);
    await silently(host, 'DEL', call);
    assert.ok(await host.pings(first.ips[0]!), 'the first is untouched by DEL of the second');
  });
});

suite('capabilities', () => {
  test('ips and mac are honoured', async () => {
    using host = await startHost();
    const runtimeConfig = { ips: ['10.77.0.77', 'fd77::77/64'], mac: '02:11:22:33:44:55' };
    const { netns, result, ips } = await plug(host, config({ runtimeConfig }, families['both families']), 'a');
    assert.deepEqual(ips, ['10.77.0.77', 'fd77::77']);
    assert.equal(result.interfaces![1]!.mac, '02:11:22:33:44:55');
    assert.equal((await links(host, netns)).find(({ name }) => name === 'eth0')?.mac, '02:11:22:33:44:55');
  });

  test('IP and MAC in CNI_ARGS are honoured', async () => {
    using host = await startHost();
    const { result, ips } = await plug(host, config(), 'a', { args: 'IP=10.77.0.99;MAC=02:00:00:00:00:99' });
    assert.deepEqual(ips, ['10.77.0.99']);
    assert.equal(result.interfaces![1]!.mac, '02:00:00:00:00:99');
  });

  test('args.cni.ips are honoured', async () => {
    using host = await startHost();
    assert.deepEqual((await plug(host, config({ args: { cni: { ips: ['10.77.0.88'] } } }), 'a')).ips, ['10.77.0.88']);
  });

  test('an address that is taken, outside the pool, or the gateway is refused, and nothing is left', async () => {
    using host = await startHost();
    const runtimeConfig = { ips: ['10.77.0.77'] };
    await plug(host, config({ runtimeConfig }), 'a');
    const before = await snapshot(host);
    for (const ip of ['10.77.0.77', '10.99.0.1', '10.77.0.1']) {
      const wish = config({ runtimeConfig: { ips: [ip] } });
      const { msg, details } = errorOf(
        await cni(host, 'ADD', { config: wish, containerID: 'b', netns: await host.pod() }),
      );
      assert.ok(`${msg} ${details}`.includes(ip), msg);
      await assertNothingLeft(host, before, `after the refusal of ${ip}`);
    }
  });

  test('the refusal of a taken address names the pod that has it, of this network or of another', async () => {
    using host = await startHost();
    const wish = config({ runtimeConfig: { ips: ['10.77.0.77'] } });
    const args = 'IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=till-7;K8S_POD_INFRA_CONTAINER_ID=f00';
    await plug(host, wish, 'f00', { args });
    const refusalIn = async (name: string): Promise<string> => {
      const call = { config: { ...wish, name }, containerID: 'b', netns: await host.pod() };
      return errorOf(await cni(host, 'ADD', call)).msg;
    };
    assert.equal(await refusalIn('net'), 'Cannot reserve 10.77.0.77: taken by pod shop/till-7 (container f00, eth0)');
    assert.match(
      await refusalIn('other'),
      /^Cannot reserve 10\.77\.0\.77: this node routes it to tg\w+, the interface of pod shop\/till-7 \(container f00\), but no pod of this network has it$/,
    );
  });

  test('dns of the runtime comes out in the result, over that of the config', async () => {
    using host = await startHost();
    const runtimeConfig = { dns: { servers: ['10.96.0.10'], searches: ['shop.svc'], options: ['ndots:5'] } };
    const { result } = await plug(host, config({ dns: { nameservers: ['9.9.9.9'] }, runtimeConfig }), 'a');
    assert.deepEqual(result.dns, { nameservers: ['10.96.0.10'], search: ['shop.svc'], options: ['ndots:5'] });
    const plain = await plug(host, config({ dns: { nameservers: ['9.9.9.9'] } }), 'b');
    assert.deepEqual(plain.result.dns, { nameservers: ['9.9.9.9'] });
  });

  test("containerd's spelling, keys capitalised and values null, is understood", async () => {
    using host = await startHost();
    const runtimeConfig = {
      portMappings: [{ HostPort: 8080, ContainerPort: 80, Protocol: 'tcp', HostIP: '' }],
      bandwidth: null,
      dns: { Servers: ['10.96.0.10'], Searches: null, Options: null },
      ipRanges: [{ Subnet: '10.80.0.0/24', RangeStart: '', RangeEnd: '', Gateway: '' }],
      'io.kubernetes.cri.pod-annotations': null,
    };
    const { netns, result, ips } = await plug(host, config({ runtimeConfig }), 'a');
    assert.deepEqual(result.dns, { nameservers: ['10.96.0.10'] });
    assert.ok(
      ips.some(ip => ip.startsWith('10.80.0.')),
      ips.join(),
    );
    await host.serve('a', 'tcp', 80, netns);
    assert.match((await host.ask('tcp', '127.0.0.1', 8080)) ?? 'no answer', /^a /);
  });
});

/** All but lo, which a runtime brings up itself, and which stays up. */
const inPod = (host: Host, netns: string) => host.sh('ip addr | sed "/^1: lo:/,/^2:/d"; ip route', netns);

suite('an ADD that fails half-way leaves nothing', () => {
  const attempts: readonly (readonly [what: string, more: (host: Host) => Promise<Partial<Call>>, message: RegExp])[] =
    [
      [
        'the name is taken in the pod',
        async host => {
          const netns = await host.pod();
          await host.sh('ip link add eth0 type bridge', netns);
          return { netns };
        },
        /eth0/,
      ],
      ['the namespace is gone', async () => ({ netnsPath: '/run/netns/gone' }), /\/run\/netns\/gone/],
      [
        'the path is a plain file, as after a reboot',
        async host => {
          await host.sh('touch /run/netns/plain');
          return { netnsPath: '/run/netns/plain' };
        },
        /\/run\/netns\/plain/,
      ],
      ['the namespace is of another kind', async () => ({ netnsPath: '/proc/self/ns/uts' }), /\/proc\/self\/ns\/uts/],
      ["the namespace is the node's own", async () => ({ netnsPath: '/proc/self/ns/net' }), /./],
      [
        'IPv6 is switched off on the node',
        async host => {
          await host.sh('echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6');
          return { netns: await host.pod(), config: dual };
        },
        /Cannot give the pod fd77::\w+: IPv6 is switched off on this node \(net\.ipv6\.conf\.default\.disable_ipv6 is 1\)/,
      ],
      [
        'the one who judges says no',
        async host => ({ netns: await host.pod(), config: config({ enforcer: 'exec:/bin/false' }) }),
        /\/bin\/false/,
      ],
      [
        'the pool is exhausted',
        async host => {
          const tiny = config({ name: 'tiny' }, { v4: '10.78.0.0/30' });
          await add(host, { config: tiny, containerID: 'first', netns: await host.pod() });
          return { netns: await host.pod(), config: tiny };
        },
        /10\.78\.0\./,
      ],
      [
        'one of two pools is exhausted',
        async host => {
          const ranges = { v6: 'fd77::/64', v4: '10.78.0.0/30' };
          const tiny = config({ name: 'tiny' }, ranges);
          await add(host, { config: tiny, containerID: 'first', netns: await host.pod() });
          return { netns: await host.pod(), config: tiny };
        },
        /10\.78\.0\./,
      ],
    ];
  for (const [what, prepare, message] of attempts) {
    test(what, async () => {
      using host = await startHost();
      await warm(host, config());
      const call = { config: config(), containerID: 'failing', ...(await prepare(host)) };
      const before = await snapshot(host);
      const inside = call.netns === undefined ? '' : await inPod(host, call.netns);
      const { msg, details } = errorOf(await cni(host, 'ADD', call));
      assert.match(`${msg} ${details}`, message);
      await assertNothingLeft(host, before, 'after an ADD that failed');
      if (call.netns !== undefined) assert.equal(await inPod(host, call.netns), inside);
      await silently(host, 'DEL', call);
      await assertNothingLeft(host, before);
    });
  }

  test('the same container and interface twice: the second fails, the first is untouched, no address is lost', async () => {
    using host = await startHost();
    await warm(host, config());
    const { call, ips } = await plug(host, config(), 'twice');
    const before = await snapshot(host);
    const again = { ...call, netns: await host.pod() };
    for (const second of [call, again]) {
      const { code } = errorOf(await cni(host, 'ADD', second));
      assert.notEqual(code, 199);
      await assertNothingLeft(host, before, 'after the second ADD');
    }
    assert.ok(await host.pings(ips[0]!));
  });
});
