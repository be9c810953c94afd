/** Masquerading and host ports, tried from everywhere that a packet can come from. */
import assert from 'node:assert/strict';
import test, { suite } from 'node:test';
import { type } from '../support/cli-host.ts';
import {
  add,
  addresses,
  type Call,
  cni,
  config,
  errorOf,
  type Json,
  silently,
  startHost,
  warm,
} from '../support/cni.ts';
import type { Host, Transport } from '../support/host.ts';
import { assertNothingLeft, snapshot } from '../support/snapshot.ts';
import { until } from '../support/until.ts';

const ranges = { v4: '10.77.0.0/24', v6: 'fd77::/64' };
const node = { 4: '192.0.2.1', 6: '2001:db8::1' } as const;
const far = { 4: '192.0.2.2', 6: '2001:db8::2' } as const;
const families = [4, 6] as const;

interface Mapping {
  readonly hostPort: number;
  readonly containerPort: number;
  readonly protocol: string;
  readonly hostIP?: string;
}

const mapped = (...portMappings: readonly Mapping[]): Json => config({ runtimeConfig: { portMappings } }, ranges);

const plug = async (host: Host, configuration: Json, containerID: string) => {
  const netns = await host.pod();
  const call: Call = { config: configuration, containerID, netns };
  const ips = addresses(await add(host, call));
  return { call, netns, 4: ips.find(ip => !ip.includes(':'))!, 6: ips.find(ip => ip.includes(':'))! };
};

suite('ipMasq', () => {
  const cases: readonly (readonly [what: string, more: Json, isMasked: boolean])[] = [
    ['hides the pod behind the node', { ipMasq: true }, true],
    ['is off by default', {}, false],
    [
      'spares nonMasqueradeCIDRs',
      { ipMasq: true, nonMasqueradeCIDRs: ['192.0.2.0/24', '2001:db8::/64', ranges.v4, ranges.v6] },
      false,
    ],
  ];
  for (const [what, more, isMasked] of cases) {
    test(`${what}, and never between pods, or between pod and node`, async () => {
      using host = await startHost();
      const outside = await host.outside();
      await warm(host, config(more, ranges));
      const before = await snapshot(host);
      const a = await plug(host, config(more, ranges), 'a');
      const b = await plug(host, config(more, ranges), 'b');
      for (const family of families) {
        await host.serve('far', 'tcp', 7000, outside, family);
        await host.serve('b', 'tcp', 7000, b.netns, family);
        await host.serve('node', 'tcp', 7000, undefined, family);
        const seen = isMasked ? node[family] : a[family];
        assert.equal(await host.ask('tcp', far[family], 7000, a.netns), `far ${seen}`);
        assert.equal(await host.ask('tcp', b[family], 7000, a.netns), `b ${a[family]}`);
        assert.equal(await host.ask('tcp', node[family], 7000, a.netns), `node ${a[family]}`);
      }
      await silently(host, 'DEL', a.call);
      assert.equal(await host.ask('tcp', far[4], 7000, b.netns), `far ${isMasked ? node[4] : b[4]}`);
      await silently(host, 'DEL', b.call);
      await assertNothingLeft(host, before);
    });
  }
});

suite('portMappings', () => {
  for (const transport of ['tcp', 'udp'] as const satisfies readonly Transport[]) {
    test(`a ${transport} hostPort answers from outside, from the node, from another pod and from the pod itself`, async () => {
      using host = await startHost();
      const outside = await host.outside();
      const configuration = mapped({ hostPort: 8080, containerPort: 80, protocol: transport });
      await warm(host, configuration);
      const before = await snapshot(host);
      const a = await plug(host, configuration, 'a');
      const b = await plug(host, config({}, ranges), 'b');
      for (const family of families) {
        await host.serve('a', transport, 80, a.netns, family);
        const ask = (address: string, netns?: string) => host.ask(transport, address, 8080, netns);
        assert.equal(
          await ask(node[family], outside),
          `a ${far[family]}`,
          'the client from outside is known by its address',
        );
        assert.match((await ask(node[family])) ?? 'nothing', /^a /, `node to itself, family ${family}`);
        assert.match((await ask(node[family], b.netns)) ?? 'nothing', /^a /, `another pod, family ${family}`);
        assert.match((await ask(node[family], a.netns)) ?? 'nothing', /^a /, `the pod itself, family ${family}`);
        assert.match(
          (await host.ask(transport, a[family], 80, b.netns)) ?? 'nothing',
          /^a /,
          'the container port still answers',
        );
      }
      assert.match((await ask4(host, transport)) ?? 'nothing', /^a /, 'node, by 127.0.0.1');
      await silently(host, 'DEL', a.call);
      assert.equal(await host.ask(transport, node[4], 8080, outside, 1000), undefined, 'after DEL');
      await silently(host, 'DEL', b.call);
      await assertNothingLeft(host, before);
    });
  }
  const ask4 = (host: Host, transport: Transport) => host.ask(transport, '127.0.0.1', 8080);

  test('a mapping to a hostIP answers there and nowhere else', async () => {
    using host = await startHost();
    const outside = await host.outside();
    await host.sh('ip addr add 192.0.2.11/24 dev wire');
    const configuration = mapped(
      { hostPort: 8081, containerPort: 80, protocol: 'tcp', hostIP: '192.0.2.11' },
      { hostPort: 8082, containerPort: 80, protocol: 'tcp', hostIP: '127.0.0.1' },
      { hostPort: 8083, containerPort: 80, protocol: 'tcp', hostIP: '0.0.0.0' },
    );
    const a = await plug(host, configuration, 'a');
    await host.serve('a', 'tcp', 80, a.netns);
    const ask = (address: string, port: number, netns?: string) => host.ask('tcp', address, port, netns);
    const isSilent = async (address: string, port: number, netns?: string) =>
      (await host.ask('tcp', address, port, netns, 2000)) === undefined;
    assert.match((await ask('192.0.2.11', 8081, outside)) ?? 'nothing', /^a /);
    assert.ok(await isSilent('192.0.2.1', 8081, outside), 'another address of the node');
    assert.ok(await isSilent('127.0.0.1', 8081), 'loopback');
    assert.match((await ask('127.0.0.1', 8082)) ?? 'nothing', /^a /);
    assert.ok(await isSilent('192.0.2.1', 8082, outside), 'what is mapped to loopback, from outside');
    assert.match((await ask('192.0.2.1', 8083, outside)) ?? 'nothing', /^a /);
    assert.match((await ask('127.0.0.1', 8083)) ?? 'nothing', /^a /);
  });

  for (const family of families)
    test(`a hostIP that is not the node's takes nobody's traffic, from wherever it comes: IPv${family}`, async () => {
      using host = await startHost();
      const outside = await host.outside();
      const victim = await plug(host, config({}, ranges), 'victim');
      const user = await plug(host, config({}, ranges), 'user');
      const mallory = await plug(
        host,
        mapped(
          { hostPort: 80, containerPort: 8080, protocol: 'tcp', hostIP: victim[family] },
          { hostPort: 53, containerPort: 8080, protocol: 'tcp', hostIP: far[family] },
        ),
        'mallory',
      );
      await host.serve('mallory', 'tcp', 8080, mallory.netns, family);
      await host.serve('victim', 'tcp', 80, victim.netns, family);
      await host.serve('far', 'tcp', 53, outside, family);
      for (const [from, netns] of [
        ['a pod', user.netns],
        ['the node', undefined],
        ['outside', outside],
      ] as const)
        assert.match((await host.ask('tcp', victim[family], 80, netns)) ?? 'nothing', /^victim /, `from ${from}`);
      for (const [from, netns] of [
        ['a pod', user.netns],
        ['the node', undefined],
      ] as const)
        assert.match((await host.ask('tcp', far[family], 53, netns)) ?? 'nothing', /^far /, `from ${from}`);
    });

  for (const [family, floating] of [
    [4, '192.0.2.99'],
    [6, '2001:db8::99'],
  ] as const)
    test(`a hostIP that floats answers while the node has it, and verify names it while it does not: IPv${family}`, async () => {
      using host = await startHost();
      const outside = await host.outside();
      const a = await plug(host, mapped({ hostPort: 8080, containerPort: 80, protocol: 'tcp', hostIP: floating }), 'a');
      await host.serve('a', 'tcp', 80, a.netns, family);
      const waiting = new RegExp(`hostPort \\[?${floating}\\]?:8080/tcp of pod default/a leads nowhere`);
      const absent = await type(host, ['verify']);
      assert.match(absent.stdout, waiting);
      assert.equal(absent.exit, 0, 'a note, and no fault');
      assert.equal(await host.ask('tcp', floating, 8080, outside, 1000), undefined);
      await host.sh(`ip addr add ${floating}/${family === 4 ? 24 : '64 nodad'} dev wire`);
      assert.match((await host.ask('tcp', floating, 8080, outside)) ?? 'nothing', /^a /, 'from outside');
      assert.match((await host.ask('tcp', floating, 8080)) ?? 'nothing', /^a /, 'from the node');
      assert.doesNotMatch((await type(host, ['verify'])).stdout, waiting);
      await host.sh(`ip addr del ${floating}/${family === 4 ? 24 : 64} dev wire`);
      assert.equal(await host.ask('tcp', floating, 8080, outside, 1000), undefined, 'once it has gone elsewhere');
    });

  test('a connection through the node to another machine on the same port is left alone', async () => {
    using host = await startHost();
    const outside = await host.outside();
    await host.serve('far', 'tcp', 8080, outside);
    const a = await plug(host, mapped({ hostPort: 8080, containerPort: 80, protocol: 'tcp' }), 'a');
    assert.equal(await host.ask('tcp', far[4], 8080, a.netns), `far ${a[4]}`);
  });

  test('SCTP is mapped, too, and gone after DEL', async () => {
    using host = await startHost();
    const ruleset = () => host.sh('nft -n list ruleset');
    const a = await plug(host, mapped({ hostPort: 36412, containerPort: 36413, protocol: 'sctp' }), 'a');
    const rules = await ruleset();
    assert.match(rules, /sctp|\b132\b/);
    assert.match(rules, /36412/);
    assert.match(rules, /36413/);
    await silently(host, 'DEL', a.call);
    assert.doesNotMatch(await ruleset(), /3641[23]/);
  });

  test('a host port that another pod has is refused, by name, and both pods stay as they were', async () => {
    using host = await startHost();
    await host.outside();
    const configuration = mapped({ hostPort: 8080, containerPort: 80, protocol: 'tcp' });
    const a = await plug(host, configuration, 'a');
    await host.serve('a', 'tcp', 80, a.netns);
    const before = await snapshot(host);
    const { msg, details } = errorOf(
      await cni(host, 'ADD', { config: configuration, containerID: 'b', netns: await host.pod() }),
    );
    assert.match(`${msg} ${details}`, /8080/);
    await assertNothingLeft(host, before, 'after the refusal');
    for (const hostIP of ['0.0.0.0', '::', node[4], node[6], `::ffff:${node[4]}`]) {
      const other = mapped({ hostPort: 8080, containerPort: 80, protocol: 'tcp', hostIP });
      const refused = await cni(host, 'ADD', { config: other, containerID: 'c', netns: await host.pod() });
      const { code, msg: said } = errorOf(refused);
      assert.deepEqual([code, /taken by pod default\/a/.test(said)], [7, true], `hostIP ${hostIP}: ${said}`);
    }
    assert.match((await host.ask('tcp', '127.0.0.1', 8080)) ?? 'nothing', /^a /);
  });

  test('a host port is free for the next pod once the last one is gone', async () => {
    using host = await startHost();
    await host.outside();
    for (const name of ['a', 'b']) {
      const pod = await plug(host, mapped({ hostPort: 8080, containerPort: 80, protocol: 'tcp' }), name);
      await host.serve(name, 'tcp', 80, pod.netns);
      assert.match((await host.ask('tcp', '127.0.0.1', 8080)) ?? 'nothing', new RegExp(`^${name} `));
      await silently(host, 'DEL', pod.call);
    }
  });
});

suite('a UDP flow that goes on', () => {
  /** The same flow each time: same source port; asked again until there is an answer, or not. */
  const ask = async (host: Host, netns: string) => {
    const client = `echo hello | socat -t 1 - UDP4:${node[4]}:5353,sourceport=40000 2>/dev/null || true`;
    return (await host.sh(client, netns)).split('\n')[0];
  };
  const entries = (host: Host) => host.sh('conntrack -L -p udp --orig-port-dst 5353 2>/dev/null || true');

  test('reaches a pod that comes while it runs, then the one that comes after it', async () => {
    using host = await startHost();
    const outside = await host.outside();
    const configuration = mapped({ hostPort: 5353, containerPort: 53, protocol: 'udp' });
    await warm(host, configuration);
    // Where nothing tracks connections there is nothing stale; a rule of somebody else's makes sure of it.
    await host.sh(
      'nft add table inet other; nft add chain inet other c "{ type filter hook input priority 0; }"; nft add rule inet other c ct state new counter',
    );
    await until('an entry for a flow that nobody serves', async () => {
      await ask(host, outside);
      return (await entries(host)).includes('dport=5353');
    });
    for (const name of ['a', 'b']) {
      const pod = await plug(host, configuration, name);
      await host.serve(name, 'udp', 53, pod.netns);
      await until(`an answer of ${name}`, async () => (await ask(host, outside)) === `${name} ${far[4]}`);
      assert.match(
        await entries(host),
        new RegExp(`src=${pod[4].replaceAll('.', '\\.')} `),
        'the entry leads to the pod',
      );
      await silently(host, 'DEL', pod.call);
      assert.doesNotMatch(await entries(host), new RegExp(`src=${pod[4].replaceAll('.', '\\.')} `), 'stale after DEL');
    }
  });
});

suite('loopback stays at home', () => {
  /** Makes a namespace send what is meant for 127.0.0.1 down its wire, and take answers from there. */
  const lure = (host: Host, netns: string, device: string, gateway: string) =>
    host.sh(
      `ip addr flush dev lo; ip link set lo down; echo 1 >/proc/sys/net/ipv4/conf/all/route_localnet
       echo 0 >/proc/sys/net/ipv4/conf/all/rp_filter; echo 0 >/proc/sys/net/ipv4/conf/${device}/rp_filter
       ip route add 127.0.0.1/32 via ${gateway} dev ${device} onlink`,
      netns,
    );

  test('the lure works where nobody guards: so the next test can fail', async () => {
    using host = await startHost();
    const outside = await host.outside();
    await host.serve('secret', 'tcp', 9999);
    await lure(host, outside, 'wire', node[4]);
    await host.sh('echo 1 >/proc/sys/net/ipv4/conf/wire/route_localnet');
    assert.match((await host.ask('tcp', '127.0.0.1', 9999, outside)) ?? 'nothing', /^secret /);
  });

  test('a pod with a host port, or anyone outside, does not reach what listens on loopback of the node', async () => {
    using host = await startHost();
    const outside = await host.outside();
    await host.serve('secret', 'tcp', 9999);
    const a = await plug(host, mapped({ hostPort: 8080, containerPort: 80, protocol: 'tcp' }), 'a');
    await host.serve('a', 'tcp', 80, a.netns);
    assert.match((await host.ask('tcp', '127.0.0.1', 8080)) ?? 'nothing', /^a /);
    const gateway = /via (\S+)/.exec(await host.sh('ip route show default', a.netns))![1]!;
    await lure(host, a.netns, 'eth0', gateway);
    await lure(host, outside, 'wire', node[4]);
    assert.equal(await host.ask('tcp', '127.0.0.1', 9999, a.netns, 1500), undefined, 'from the pod');
    assert.equal(await host.ask('tcp', '127.0.0.1', 9999, outside, 1500), undefined, 'from outside');
    const others = await host.sh('cat /proc/sys/net/ipv4/conf/{all,default,wire,lo}/route_localnet');
    assert.equal(others, '0\n0\n0\n0\n', 'route_localnet is set on the interface of the pod alone');
  });

  test('a datagram that says it comes from 127.0.0.1 does not arrive through a host port', async () => {
    using host = await startHost();
    const outside = await host.outside();
    const a = await plug(host, mapped({ hostPort: 5353, containerPort: 53, protocol: 'udp' }), 'a');
    await host.sh(
      'nft add table inet seen; nft add chain inet seen c "{ type filter hook input priority 0; }"; nft add rule inet seen c udp dport 53 counter',
      a.netns,
    );
    const heard = async () => !(await host.sh('nft list table inet seen', a.netns)).includes('packets 0');
    await host.sh(`echo hello | socat -t 0 - UDP4-SENDTO:${node[4]}:5353`, outside);
    await until('an honest datagram', heard);
    await host.sh(
      'nft reset counters >/dev/null; nft flush chain inet seen c; nft add rule inet seen c udp dport 53 counter',
      a.netns,
    );
    assert.equal(await heard(), false);
    await host.sh('ip addr add 127.0.0.9/32 dev wire; echo 1 >/proc/sys/net/ipv4/conf/all/route_localnet', outside);
    await host.sh(`echo hello | socat -t 0 - UDP4-SENDTO:${node[4]}:5353,bind=127.0.0.9`, outside);
    await host.sh(`echo hello | socat -t 0 - UDP4-SENDTO:${node[4]}:5354`, outside);
    assert.equal(await heard(), false);
  });
});
