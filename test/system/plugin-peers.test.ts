/** Together with other plugins: after ptp and bridge in a list, as the IPAM of bridge, and with the IPAM of others. */
import assert from 'node:assert/strict';
import test, { suite } from 'node:test';
import { type } from '../support/cli-host.ts';
import {
  add,
  addList,
  addresses,
  type Call,
  cni,
  config,
  eachOfList,
  environment,
  errorOf,
  type Json,
  type PluginList,
  peerDir,
  policies,
  type Result,
  runDir,
  silently,
  startHost,
  stateDir,
  tollgateDir,
  warm,
} from '../support/cni.ts';
import type { Host } from '../support/host.ts';
import { assertNothingLeft, condemned, isTag, type Link, links, snapshot, tagged } from '../support/snapshot.ts';
import { until } from '../support/until.ts';
import { binaryOf, inWays } from '../support/way.ts';

const hostLocal = { type: 'host-local', dataDir: '/run/test/host-local', subnet: '10.81.0.0/24' };
const defaultRoute = { routes: [{ dst: '0.0.0.0/0' }] };
const chained = (more: Json = {}): Json => ({ type: 'tollgate', stateDir, runDir, policies, ...more });
const ptp = { type: 'ptp', ipam: { ...hostLocal, ...defaultRoute } };
const bridge = { type: 'bridge', bridge: 'br0', isGateway: true, ipam: { ...hostLocal, ...defaultRoute } };
const list = (...plugins: Json[]): PluginList => ({ cniVersion: '1.0.0', name: 'net', plugins });

/** Addresses that host-local has given and not got back. */
const held = (host: Host): string[] => host.files('/run/test/host-local').filter(file => /\/[0-9.]+$/.test(file));

suite('later in a list', () => {
  const cases: readonly (readonly [name: string, main: Json, own: Json])[] = [
    ['ptp, with the default enforcer', ptp, chained()],
    ['ptp, with enforcer none', ptp, chained({ enforcer: 'none' })],
    ['bridge, with enforcer none', bridge, chained({ enforcer: 'none' })],
  ];
  for (const [name, main, own] of cases) {
    test(`over ${name}: tags the link at ADD, passes the result on, and lets go of it at DEL`, async () => {
      using host = await startHost();
      const [first, second] = await host.netns(2);
      const a = { containerID: 'a', netns: first! };
      const b = { containerID: 'b', netns: second! };
      const alone = await addList(host, list(main), a);
      const port = await podLink(host, alone);
      const whole = list(main, own);
      const call = { ...a, config: { ...own, cniVersion: '1.0.0', name: 'net', prevResult: alone } };
      assert.deepEqual(withoutEmpty(await add(host, call)), withoutEmpty(alone), 'the result is passed on as it came');
      const after = await podLink(host, alone);
      assert.ok(isTag(after.group), `group ${after.group}`);
      assert.equal(after.alias, 'tollgate:default/a:a');
      await addList(host, whole, b);
      assert.equal((await tagged(host)).length, 2);
      assert.ok(await host.pings(addresses(alone)[0]!, second));
      await eachOfList(host, 'CHECK', whole, a, alone);
      await silently(host, 'DEL', call);
      const left = await podLink(host, alone);
      if (own['enforcer'] === 'none') assert.deepEqual(left, port, 'the link is what it was before');
      else assert.equal(left.group, condemned, 'what was gated stays closed until its maker takes it away');
      await silently(host, 'DEL', call);
      await eachOfList(host, 'DEL', list(main), a, alone);
      await host.removeNetns(second!);
      await eachOfList(host, 'DEL', whole, b, undefined);
      assert.deepEqual([await tagged(host), held(host), host.files(`${stateDir}`).filter(isRecord)], [[], [], []]);
    });
  }

  /** An empty `dns` says the same as none: older plugins print it, newer do not. */
  const withoutEmpty = ({ dns, ...rest }: Result) => (Object.keys(dns ?? {}).length === 0 ? rest : { dns, ...rest });

  /** The end on the host of what the result calls the pod's interface. */
  async function podLink(host: Host, result: Result): Promise<Link> {
    const veth = result.interfaces!.find(({ name, sandbox }) => !sandbox && name.startsWith('veth'))!;
    return (await links(host)).find(({ name }) => name === veth.name)!;
  }

  const isRecord = (file: string) => /\/(attachments|claims)\//.test(file);

  test('over a bridge port, an enforcer is refused with code 7, and the port is left alone', async () => {
    using host = await startHost();
    const a = { containerID: 'a', netns: await host.pod() };
    const prevResult = await addList(host, list(bridge), a);
    for (const more of [{}, { enforcer: 'inline' }, { enforcer: 'exec:/bin/true' }]) {
      const config_ = { ...chained(more), cniVersion: '1.0.0', name: 'net', prevResult };
      const { code, msg, details } = errorOf(await cni(host, 'ADD', { ...a, config: config_ }));
      assert.equal(code, 7);
      assert.match(`${msg} ${details}`, /bridge/);
      assert.deepEqual(await tagged(host), []);
    }
  });

  test('over ptp, a hostPort answers by 127.0.0.1, the node by nothing else of its loopback, and by none after DEL', async () => {
    using host = await startHost();
    const netns = await host.pod();
    const portMappings = [{ hostPort: 8080, containerPort: 80, protocol: 'tcp' }];
    const mapped = list(ptp, chained({ runtimeConfig: { portMappings } }));
    const a = { containerID: 'a', netns };
    const result = await addList(host, mapped, a);
    await host.serve('a', 'tcp', 80, netns);
    await host.serve('secret', 'tcp', 9999);
    assert.match((await host.ask('tcp', '127.0.0.1', 8080)) ?? 'nothing', /^a /);
    await host.sh(
      `ip addr flush dev lo; ip link set lo down; echo 1 >/proc/sys/net/ipv4/conf/all/route_localnet
       ip route add 127.0.0.1/32 via ${result.ips![0]!.gateway!} dev eth0 onlink`,
      netns,
    );
    assert.equal(await host.ask('tcp', '127.0.0.1', 9999, netns, 1500), undefined);
    const { name } = await podLink(host, result);
    const answers = () => host.sh(`cat /proc/sys/net/ipv4/conf/${name}/route_localnet`);
    assert.equal(await answers(), '1\n');
    const config_ = { ...mapped.plugins[1]!, cniVersion: '1.0.0', name: 'net', prevResult: result };
    await silently(host, 'DEL', { ...a, config: config_ });
    assert.equal(await answers(), '0\n');
  });

  test('over ptp, a pod whose namespace is gone is collected by `tollgate gc`, and by an ADD that wants its hostPort', async () => {
    using host = await startHost();
    const portMappings = [{ hostPort: 8080, containerPort: 80, protocol: 'tcp' }];
    const mapped = list(ptp, chained({ runtimeConfig: { portMappings } }));
    for (const containerID of ['a', 'b']) {
      const netns = await host.pod();
      await addList(host, mapped, { containerID, netns });
      await host.removeNetns(netns);
      await until('its link to be gone', async () => (await tagged(host)).length === 0);
    }
    const { exit, stdout, stderr } = await type(host, ['gc']);
    assert.deepEqual(
      [exit, /undone: default\/b, eth0 of b in network net: its interface is gone/.test(stdout)],
      [0, true],
      stderr,
    );
    assert.match((await type(host, ['pods'])).stdout, /^No pod is plugged in/);
    assert.deepEqual(host.files(stateDir).filter(isRecord), []);
  });

  test('where no plugin before made the interface, ADD is code 7 and says so', async () => {
    using host = await startHost();
    const prevResult = { cniVersion: '1.0.0', interfaces: [], ips: [] };
    const config_ = { ...chained(), cniVersion: '1.0.0', name: 'net', prevResult };
    const call = { containerID: 'a', netns: await host.pod(), config: config_ };
    const { code, msg, details } = errorOf(await cni(host, 'ADD', call));
    assert.equal(code, 7, msg);
    assert.match(msg, /^Cannot tag eth0 of a: no plugin before made it in \/run\/netns\//);
    assert.match(details!, /after ptp/);
    await silently(host, 'DEL', call);
    assert.deepEqual(await tagged(host), []);
  });

  test('a link that somebody else has put in our group range is not taken over', async () => {
    using host = await startHost();
    const a = { containerID: 'a', netns: await host.pod() };
    const prevResult = await addList(host, list(ptp), a);
    const { name } = await podLink(host, prevResult);
    await host.sh(`ip link set ${name} group 1952907777 alias "somebody else's"`);
    const call = { ...a, config: { ...chained(), cniVersion: '1.0.0', name: 'net', prevResult } };
    assert.match(errorOf(await cni(host, 'ADD', call)).msg, new RegExp(name));
    assert.equal((await podLink(host, prevResult)).alias, "somebody else's");
  });
});

suite('before others in a list', () => {
  test("sbr moves the pod's routes into a table of its own: CHECK and verify find them there, and miss them where it has none", async () => {
    using host = await startHost();
    const sbr = list(config({ cniVersion: '1.0.0' }), { type: 'sbr' });
    const a = { containerID: 'a', netns: await host.pod() };
    const result = await addList(host, sbr, a);
    assert.equal(await host.sh('ip route', a.netns), '', 'no route is where ADD made it');
    await eachOfList(host, 'CHECK', sbr, a, result);
    const verify = async () => (await type(host, ['verify'])).stdout;
    assert.match(await verify(), /agree/);
    await host.sh('ip route flush table 100', a.netns);
    const [own] = sbr.plugins;
    const { code, msg } = errorOf(await cni(host, 'CHECK', { ...a, config: { ...own!, prevResult: result } }));
    assert.deepEqual([code, /lacks its route to 0.0.0.0\/0/.test(msg)], [104, true], msg);
    assert.match(await verify(), /lacks its route/);
    await eachOfList(host, 'DEL', sbr, a, result);
    assert.deepEqual(await tagged(host), []);
  });
});

suite('tollgate-ipam for bridge', () => {
  const ipam = {
    type: 'tollgate-ipam',
    dataDir: stateDir,
    ranges: [[{ subnet: '10.82.0.0/24' }], [{ subnet: 'fd82::/64' }]],
  };
  const network = list({ type: 'bridge', bridge: 'br0', isGateway: true, ipam });
  const claims = (host: Host) =>
    [...host.files(stateDir), ...host.files('/var/lib/tollgate')].filter(file => file.includes('/claims/'));

  test('gives addresses that work, checks them, takes them back', async () => {
    using host = await startHost();
    const [first, second] = await host.netns(2);
    const calls = [
      { containerID: 'a', netns: first! },
      { containerID: 'b', netns: second! },
    ];
    const results: Result[] = [];
    for (const call of calls) results.push(await addList(host, network, call));
    assert.equal(new Set(results.flatMap(addresses)).size, 4);
    assert.equal(claims(host).length, 4);
    for (const ip of addresses(results[1]!)) {
      await host.sh('until ! ip -6 addr show tentative | grep -q tentative; do sleep 0.05; done', first);
      assert.ok((await host.pings(ip, first)) || (await host.pings(ip, first)), ip);
    }
    for (const [i, call] of calls.entries()) {
      await eachOfList(host, 'CHECK', network, call, results[i]);
      await eachOfList(host, 'DEL', network, call, results[i]);
    }
    assert.deepEqual(claims(host), []);
  });

  const direct = (more: Json = {}): Json => ({
    cniVersion: '1.1.0',
    name: 'net',
    type: 'bridge',
    mtu: 'of no concern to us',
    ipam,
    ...more,
  });
  const call = (containerID: string, more: Json = {}): Call => ({
    plugin: 'tollgate-ipam',
    containerID,
    netnsPath: '/run/netns/of-no-concern',
    config: direct(more),
  });

  test('answers as an IPAM plugin does: addresses and routes, no interface', async () => {
    using host = await startHost();
    const result = await add(host, call('a'));
    assert.equal(result.interfaces, undefined);
    assert.deepEqual(
      result.ips?.map(({ interface: index }) => index),
      [undefined, undefined],
    );
    assert.deepEqual(
      result.ips?.map(({ gateway }) => gateway),
      ['10.82.0.1', 'fd82::1'],
    );
    await silently(host, 'CHECK', call('a', { prevResult: result }));
    errorOf(await cni(host, 'ADD', call('a')));
    assert.equal(claims(host).length, 2, 'the second ADD of the same takes nothing');
    await silently(host, 'DEL', call('a'));
    errorOf(await cni(host, 'CHECK', call('a', { prevResult: result })));
    await silently(host, 'DEL', call('a'));
    assert.deepEqual(claims(host), []);
  });

  test('GC takes back what no living attachment holds, STATUS is silent while there is room', async () => {
    using host = await startHost();
    const results = new Map<string, Result>();
    for (const id of ['a', 'b', 'c']) results.set(id, await add(host, call(id)));
    await silently(host, 'STATUS', call('x'));
    await silently(host, 'GC', call('x', { 'cni.dev/valid-attachments': [{ containerID: 'b', ifname: 'eth0' }] }));
    assert.equal(claims(host).length, 2);
    await silently(host, 'CHECK', call('b', { prevResult: results.get('b') }));
    await silently(host, 'GC', call('x', { 'cni.dev/valid-attachments': [] }));
    assert.deepEqual(claims(host), []);
  });
});

suite('the IPAM of others', () => {
  const old = (ipam: Json, more: Json = {}): Json => config({ cniVersion: '1.0.0', ipam, ...more });

  const peers: readonly (readonly [name: string, ipam: Json, address: string])[] = [
    ['host-local', { ...hostLocal, ...defaultRoute }, '10.81.0.2'],
    [
      'static',
      {
        type: 'static',
        addresses: [{ address: '10.81.0.7/24', gateway: '10.81.0.1' }],
        routes: [{ dst: '0.0.0.0/0' }],
      },
      '10.81.0.7',
    ],
  ];
  for (const [name, ipam, address] of peers) {
    test(`${name} gives the address, CHECK and DEL go to it, too`, async () => {
      using host = await startHost();
      await warm(host, config());
      const before = await snapshot(host);
      const call = { config: old(ipam), containerID: 'a', netns: await host.pod() };
      const result = await add(host, call);
      assert.deepEqual(addresses(result), [address]);
      assert.deepEqual(
        result.ips?.map(ip => ip.interface),
        [1],
      );
      assert.ok(await host.pings(address));
      assert.ok(await host.pings('10.81.0.1', call.netns));
      assert.equal(held(host).length, name === 'host-local' ? 1 : 0);
      await silently(host, 'CHECK', { ...call, config: old(ipam, { prevResult: result }) });
      await silently(host, 'DEL', call);
      assert.deepEqual(held(host), []);
      await assertNothingLeft(host, before);
    });
  }

  test('an ADD that fails after it gives the address back', async () => {
    using host = await startHost();
    await warm(host, config());
    const before = await snapshot(host);
    const netns = await host.pod();
    await host.sh('ip link add eth0 type bridge', netns);
    errorOf(await cni(host, 'ADD', { config: old(hostLocal), containerID: 'a', netns }));
    assert.deepEqual(held(host), []);
    await assertNothingLeft(host, before, 'after an ADD that failed');
  });

  test('a DEL whose config has since changed its IPAM still gives the address back to the one it came from', async () => {
    using host = await startHost();
    const call = { config: old(hostLocal), containerID: 'a', netns: await host.pod() };
    await add(host, call);
    assert.equal(held(host).length, 1);
    await silently(host, 'DEL', { ...call, config: config({ cniVersion: '1.0.0' }) });
    assert.deepEqual(held(host), []);
  });

  test('a DEL after a reboot, with no record of ours left, still reaches it', async () => {
    using host = await startHost();
    const call = { config: old(hostLocal), containerID: 'a', netns: await host.pod() };
    await add(host, call);
    await host.removeNetns(call.netns);
    await host.sh(`rm -rf ${stateDir} ${runDir}; nft delete table inet tollgate`);
    await silently(host, 'DEL', call);
    assert.deepEqual(held(host), []);
  });

  test('GC gives back the addresses of each attachment that it collects', async () => {
    using host = await startHost();
    const network = old(hostLocal, { cniVersion: '1.1.0' });
    const [first, second] = await host.netns(2);
    // Debian's host-local knows no 1.1.0, so what is collected was added with 1.0.0.
    await add(host, { config: old(hostLocal), containerID: 'a', netns: first! });
    await add(host, { config: old(hostLocal), containerID: 'b', netns: second! });
    const valid = [{ containerID: 'b', ifname: 'eth0' }];
    await cni(host, 'GC', { config: { ...network, 'cni.dev/valid-attachments': valid } });
    assert.equal(held(host).length, 1);
    assert.equal((await tagged(host)).length, 1);
    assert.equal(await host.sh(`cat ${held(host)[0]}`), 'b\r\neth0');
  });

  test('`tollgate gc` gives back the address of a pod that is gone', async () => {
    using host = await startHost();
    const netns = await host.pod();
    await add(host, { config: { ...config({ ipam: hostLocal }), cniVersion: '1.0.0' }, containerID: 'a', netns });
    await host.removeNetns(netns);
    const { exit, stderr } = await type(host, ['gc', '--bin-dir', peerDir]);
    assert.deepEqual([exit, held(host)], [0, []], stderr);
  });

  /** An IPAM plugin that writes down how it is called, and answers as it is told. */
  const scripted = async (host: Host, answers: string) => {
    await host.sh('mkdir -p /run/test/bin');
    host.write(
      '/run/test/bin/scripted',
      `#!/bin/sh
       config=$(cat); echo "$CNI_COMMAND" >>/run/test/calls; printf '%s' "$config" >/run/test/stdin-$CNI_COMMAND
       echo 'a word on stderr' >&2
       case $CNI_COMMAND in ${answers} esac\n`,
    );
    await host.sh('chmod +x /run/test/bin/scripted');
    const env = { CNI_PATH: `/run/test/bin:${tollgateDir}:${peerDir}` };
    const calls = async () => (await host.sh('cat /run/test/calls; rm /run/test/calls')).trim().split('\n');
    return { env, calls };
  };
  const given = `ADD) echo '{"cniVersion":"1.1.0","ips":[{"address":"10.83.0.9/24","gateway":"10.83.0.1"}]}';;`;
  const own = config({ ipam: { type: 'scripted', colour: 'red' }, unheardOf: { a: [1, null] } });

  test('every verb is forwarded with the whole stdin; what it says on stderr comes through', async () => {
    using host = await startHost();
    const { env, calls } = await scripted(host, given);
    const call = { config: own, containerID: 'a', netns: await host.pod(), env };
    const outcome = await cni(host, 'ADD', call);
    assert.equal(outcome.exit, 0, outcome.stdout);
    assert.match(outcome.stderr, /a word on stderr/);
    await silently(host, 'CHECK', { ...call, config: { ...own, prevResult: outcome.json } });
    await silently(host, 'STATUS', { config: own, env });
    await silently(host, 'DEL', call);
    const collected = { ...own, 'cni.dev/valid-attachments': [] };
    await silently(host, 'GC', { config: collected, env });
    assert.deepEqual(await calls(), ['ADD', 'CHECK', 'STATUS', 'DEL', 'GC']);
    assert.deepEqual(JSON.parse(await host.sh('cat /run/test/stdin-ADD')), own);
    assert.deepEqual(JSON.parse(await host.sh('cat /run/test/stdin-GC')), collected);
  });

  test('its refusal is ours, with its code and words in it, and its DEL is run before', async () => {
    using host = await startHost();
    const { env, calls } = await scripted(host, `ADD) echo '{"code":117,"msg":"no more of red"}'; exit 1;;`);
    await warm(host, config());
    const before = await snapshot(host);
    const { code, msg, details } = errorOf(
      await cni(host, 'ADD', { config: own, containerID: 'a', netns: await host.pod(), env }),
    );
    assert.ok(code >= 100, `code ${code}`);
    assert.match(`${msg} ${details}`, /no more of red.*117/);
    assert.deepEqual(await calls(), ['ADD', 'DEL']);
    await assertNothingLeft(host, before, 'after an ADD that failed');
  });

  test('an address that the node has, or routes to another pod, is refused by the name of that, and given back', async () => {
    using host = await startHost();
    await host.sh('ip addr add 10.83.0.77/32 dev lo');
    const { env, calls } = await scripted(host, `ADD) cat /run/test/answer;;`);
    const plugIn = async (containerID: string, address: string) => {
      host.write('/run/test/answer', `{"cniVersion":"1.1.0","ips":[{"address":"${address}/24"}]}`);
      return await cni(host, 'ADD', { config: own, containerID, netns: await host.pod(), env });
    };
    assert.equal((await plugIn('a', '10.83.0.9')).exit, 0);
    await calls();
    for (const [address, user] of [
      ['10.83.0.9', /pod default\/a/],
      ['10.83.0.77', /routes it to lo/],
    ] as const) {
      const { code, msg } = errorOf(await plugIn('b', address));
      assert.deepEqual([code, msg.includes(`Cannot reserve ${address}`), user.test(msg)], [100, true, true], msg);
      assert.deepEqual(await calls(), ['ADD', 'DEL']);
    }
    assert.equal((await tagged(host)).length, 1);
  });

  test('a DEL that it refuses is an error, and the next one succeeds', async () => {
    using host = await startHost();
    await warm(host, config());
    const before = await snapshot(host);
    const { env } = await scripted(
      host,
      `${given} DEL) [ ! -e /run/test/stuck ] || { echo '{"code":11,"msg":"later"}'; exit 1; };;`,
    );
    const call = { config: own, containerID: 'a', netns: await host.pod(), env };
    await add(host, call);
    await host.sh('touch /run/test/stuck');
    assert.match(errorOf(await cni(host, 'DEL', call)).msg, /later/);
    await host.sh('rm /run/test/stuck');
    await silently(host, 'DEL', call);
    await assertNothingLeft(host, before);
  });

  inWays(['alone', 'worker'], way =>
    test('one that hangs keeps no DEL waiting once the runtime has killed the ADD', async () => {
      using host = await startHost({ way });
      // A child of the plugin holds its output open until the host is gone.
      const hang = `(while kill -0 ${host.pid} 2>/dev/null; do sleep 1; done)`;
      const { env, calls } = await scripted(host, `ADD) touch /run/test/asked; ${hang};;`);
      const call = { config: own, containerID: 'a', netns: await host.pod(), env };
      const adding = host.spawn([binaryOf(host)], { env: environment('ADD', call) });
      adding.stdin!.end(JSON.stringify(own));
      await until('the ADD to be under way', async () => host.files('/run/test').includes('/run/test/asked'));
      adding.kill('SIGKILL');
      await silently(host, 'DEL', call);
      const [first, ...others] = await calls();
      assert.deepEqual([first, ...new Set(others)], ['ADD', 'DEL']);
      assert.deepEqual(await tagged(host), []);
    }),
  );

  test('a STATUS that it refuses is 50 or 51', async () => {
    using host = await startHost();
    const { env } = await scripted(host, `STATUS) echo '{"code":50,"msg":"out of red"}'; exit 1;;`);
    const { code, msg, details } = errorOf(await cni(host, 'STATUS', { config: own, env }));
    assert.ok(code === 50 || code === 51, `code ${code}`);
    assert.match(`${msg} ${details}`, /out of red/);
  });

  for (const [what, type] of [
    ['a path', '../../bin/sh'],
    ['in no folder of CNI_PATH', 'no-such-ipam'],
  ]) {
    test(`one that is ${what} is refused, by name, and nothing changes`, async () => {
      using host = await startHost();
      const before = await snapshot(host);
      const call = { config: config({ ipam: { type } }), containerID: 'a', netns: await host.pod() };
      const { msg, details } = errorOf(await cni(host, 'ADD', call));
      assert.ok(`${msg} ${details}`.includes(type!), msg);
      assert.deepEqual((await snapshot(host)).links, before.links);
      await silently(host, 'DEL', call);
    });
  }
});
