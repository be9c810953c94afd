/** What the gate must hold through the lives of pods, policies and their owners, as a user sees them. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { type Family, formatAddress, parseAddress } from '../../lib/ip/address.ts';
import { PROTOCOL, TCP_FLAG } from '../../lib/nft/statements.ts';
import { createTable } from '../../lib/nft/transaction.ts';
import { firstIdentity } from '../../lib/tag/tag.ts';
import { addList, cni, config, errorOf, type Json, type PluginList, policies, stateDir } from '../support/cni.ts';
import { GateHost, type GatePod, localPod, tableOf } from '../support/gate-host.ts';
import { onlyFrom, PluggedPod, PolicyHost, pods, policy, ranges, words } from '../support/policy-host.ts';
import { isTag, quarantine, tagged } from '../support/snapshot.ts';
import { nearAddress, tableName } from '../support/wired-host.ts';

const families: readonly Family[] = [4, 6];
const shut = policy('shut', { ...pods({ role: 'shut' }), policyTypes: ['Ingress', 'Egress'] });

test('a pod that gets the address of a deleted one gets none of what that one was allowed, nor its connections', async () => {
  using host = await PolicyHost.start();
  host.put('only.yaml', onlyFrom('only', { role: 'server' }, { role: 'friend' }), shut);
  using server = await host.plug('server', { labels: { role: 'server' } });
  const one = (text: string) => ({
    subnet: text.includes(':') ? ranges.v6 : ranges.v4,
    rangeStart: text,
    rangeEnd: text,
  });
  const ipam = { type: 'tollgate-ipam', ranges: [[one('10.77.0.50')], [one('fd77::50')]] };
  const small: Json = { name: 'small', ipam };
  const friend = await host.plug('friend', { labels: { role: 'friend' }, config: small });
  assert.ok(host.reaches(friend, server));
  const spoken = families.map(f => host.packet(friend.addresses[f], server.addresses[f]));
  for (const packet of spoken) assert.ok(host.arrives(friend.end, packet, server.end));
  await friend.unplug();
  const gone = families.map(f => formatAddress(friend.addresses[f]));
  assert.deepEqual(
    host.flows().filter(({ original, reply }) => [original, reply].some(t => gone.includes(formatAddress(t.source)))),
    [],
  );
  using stranger = await host.plug('stranger', { labels: { role: 'shut' }, config: small });
  assert.deepEqual(stranger.addresses, friend.addresses);
  assert.ok(!host.reaches(stranger, server));
  for (const packet of spoken) {
    assert.ok(!host.arrives(stranger.end, packet, server.end), 'the very same packet');
    const answer = { ...packet, from: packet.to, to: packet.from, sport: packet.dport, dport: packet.sport };
    assert.ok(!host.arrives(server.end, answer, stranger.end), 'an answer that comes late');
  }
});

test('a namespace that is relabelled in the folder opens and closes what selects it', async () => {
  using host = await PolicyHost.start();
  const namespace = (env: string): Json => ({
    apiVersion: 'v1',
    kind: 'Namespace',
    metadata: { name: 'team', labels: { env } },
  });
  const peer = { namespaceSelector: { matchLabels: { env: 'prod' } } };
  host.put('policy.yaml', policy('prod', { ...pods({ role: 'server' }), ingress: [{ from: [peer] }] }));
  host.put('namespace.yaml', namespace('test'));
  using server = await host.plug('server', { labels: { role: 'server' } });
  using client = await host.plug('client', { namespace: 'team' });
  using other = await host.plug('other', { namespace: 'elsewhere' });
  const tag = host.groupOf(client);
  for (const env of ['test', 'prod', 'stage', 'prod']) {
    host.put('namespace.yaml', namespace(env));
    await host.apply();
    assert.equal(host.reaches(client, server), env === 'prod', env);
    assert.ok(!host.reaches(other, server));
  }
  assert.equal(host.groupOf(client), tag, 'a namespace is no part of what a pod is');
});

test("a pod's own manifest in the folder relabels it: its tag changes, and what it may do with it", async () => {
  using host = await PolicyHost.start();
  const manifest = (role: string): Json => ({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { namespace: 'default', name: 'client', labels: { role } },
    spec: { containers: [{ name: 'main' }] },
  });
  host.put('policy.yaml', onlyFrom('only', { role: 'server' }, { role: 'friend' }));
  using server = await host.plug('server', { labels: { role: 'server' } });
  using client = await host.plug('client');
  for (const role of ['stranger', 'friend', 'stranger']) {
    host.put('pod.yaml', manifest(role));
    await host.apply();
    assert.equal(host.reaches(client, server), role === 'friend', role);
    assert.equal((await tagged(host.host)).length, 2);
  }
});

test("a pod that lies about its source address reaches nobody under it, be it a friend's, the node's or nobody's", async () => {
  using host = await PolicyHost.start();
  host.put('policy.yaml', onlyFrom('only', { role: 'server' }, { role: 'friend' }));
  using server = await host.plug('server', { labels: { role: 'server' } });
  using friend = await host.plug('friend', { labels: { role: 'friend' } });
  using liar = await host.plug('liar');
  assert.ok(host.reaches(friend, server));
  host.forget();
  for (const f of families)
    for (const source of [friend.addresses[f], gateway[f], nearAddress[f], server.addresses[f]])
      for (const protocol of [PROTOCOL.tcp, PROTOCOL.udp, PROTOCOL.sctp]) {
        const packet = host.packet(source, server.addresses[f], { protocol });
        assert.ok(!host.arrives(liar.end, packet, server.end), `${formatAddress(source)} by ${protocol}`);
      }
  assert.deepEqual(host.flows(), []);
});

const gateway = { 4: parseAddress('10.77.0.1')!, 6: parseAddress('fd77::1')! } as const;

/** Beyond the node there is a router, whose far wire is narrow; behind it there is somebody who answers. */
const beyondTheRouter = `
  ip netns add remote
  ip -n beyond link set lo up; ip -n remote link set lo up
  ip -n beyond addr add 198.51.100.2/24 dev near; ip -n beyond -6 addr add 2001:db8:1::2/64 dev near nodad
  ip -n beyond link add narrow mtu 1400 type veth peer name narrow mtu 1400 netns remote
  ip -n beyond addr add 192.0.2.1/24 dev narrow; ip -n beyond -6 addr add 2001:db8:9::1/64 dev narrow nodad
  ip -n remote addr add 192.0.2.2/24 dev narrow; ip -n remote -6 addr add 2001:db8:9::2/64 dev narrow nodad
  ip -n beyond link set narrow up; ip -n remote link set narrow up
  ip -n remote route add default via 192.0.2.1; ip -n remote -6 route add default via 2001:db8:9::1
  ip -n beyond route add default via 198.51.100.1; ip -n beyond -6 route add default via 2001:db8:1::1
  for f in /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv6/conf/all/forwarding; do ip netns exec beyond sh -c "echo 1 >$f"; done`;
const remote = { 4: '192.0.2.2', 6: '2001:db8:9::2' } as const;
const router = { 4: '198.51.100.2', 6: '2001:db8:1::2' } as const;

test('through what policy allows, ping, path MTU discovery and traceroute work, though nobody may call the pod', async () => {
  using host = await PolicyHost.start({ setup: beyondTheRouter });
  const blocks = [{ ipBlock: { cidr: `${remote[4]}/32` } }, { ipBlock: { cidr: `${remote[6]}/128` } }];
  host.put(
    'policy.yaml',
    policy('one', { ...pods({ role: 'all' }), policyTypes: ['Ingress', 'Egress'], egress: [{ to: blocks }] }),
    policy('two', {
      ...pods({ role: 'tcp' }),
      policyTypes: ['Ingress', 'Egress'],
      egress: [{ to: blocks, ports: [{ protocol: 'TCP', port: 5000 }] }],
    }),
  );
  using all = await host.plug('all', { labels: { role: 'all' } });
  using tcp = await host.plug('tcp', { labels: { role: 'tcp' } });
  const run = (pod: PluggedPod, ...command: string[]) => host.host.run(command, { netns: pod.call.netns! });
  for (const f of families) {
    // An answer ends the wait for it.
    const ping = ['ping', '-n', `-${f}`, '-c', '1', '-W', '30'];
    assert.equal((await run(all, ...ping, remote[f])).exit, 0, `ping -${f}`);
    assert.equal((await run(tcp, 'ping', '-n', `-${f}`, '-c', '1', '-W', '1', remote[f])).exit, 1, 'TCP is no ping');
    // Too big, and not to be cut: the router's answer is about a packet that was allowed.
    const size = String(1500 - (f === 4 ? 28 : 48));
    const big = await run(all, ...ping, '-M', 'do', '-s', size, remote[f]);
    assert.match(words(big), /mtu ?= ?1400|Packet too big: mtu=1400/i, words(big));
    assert.match(await host.host.sh(`ip -${f} route get ${remote[f]}`, all.call.netns), /mtu 1400/);
    const trace = f === 4 ? 'traceroute' : 'traceroute6';
    for (const way of f === 4 ? [['-I'], []] : [[]]) {
      const { stdout } = await run(all, 'busybox', trace, '-n', '-q', '1', '-w', '30', '-m', '5', ...way, remote[f]);
      const hops = stdout.split('\n').flatMap(line => /^ *\d+ +(\S+)/.exec(line)?.[1] ?? []);
      assert.deepEqual(hops, [formatAddress(gateway[f]), router[f], remote[f]], `${trace} ${way}: ${stdout}`);
    }
  }
});

test('a TCP connection finds its way through a narrow wire by related ICMP alone', async () => {
  using host = await PolicyHost.start({ setup: beyondTheRouter });
  host.put(
    'policy.yaml',
    policy('two', {
      ...pods({ role: 'tcp' }),
      policyTypes: ['Ingress', 'Egress'],
      egress: [{ ports: [{ protocol: 'TCP', port: 5000 }] }],
    }),
  );
  using tcp = await host.plug('tcp', { labels: { role: 'tcp' } });
  for (const f of families) {
    const listen = f === 4 ? 'TCP4-LISTEN' : 'TCP6-LISTEN';
    const server = host.host.run(['socat', '-u', `${listen}:5000,reuseaddr`, 'STDOUT'], { netns: 'remote' });
    const to = f === 4 ? remote[4] : `[${remote[6]}]`;
    const sent = 300_000;
    await host.host.sh(
      `head -c ${sent} /dev/zero | socat -u STDIN TCP${f}:${to}:5000,retry=6000,interval=0.05,mss=1460`,
      tcp.call.netns,
    );
    assert.equal((await server).stdout.length, sent);
  }
});

/** A script that says what it was told, and waits at its own door until it may answer. */
const judgeScript = `#!/bin/sh
cat >/run/test/told
echo asked >/run/test/asked
read answer </run/test/door
echo "says $answer" >&2
exit "$answer"`;

test('enforcer exec: a program gets the tag as JSON; while it thinks the pod is closed, and its exit code decides', async () => {
  using host = await PolicyHost.start({ setup: 'mkfifo /run/test/asked /run/test/door' });
  host.host.write('/run/test/judge', judgeScript);
  await host.host.sh('chmod +x /run/test/judge');
  const judged: Json = { enforcer: 'exec:/run/test/judge', enforceTimeout: 600 };
  for (const answer of [0, 3]) {
    const netns = await host.host.pod();
    const call = host.callOf(`pod${answer}`, netns, { labels: { app: 'web' }, config: judged });
    const adding = cni(host.host, 'ADD', call);
    await host.host.sh('cat /run/test/asked');
    const told = JSON.parse(await host.host.sh('cat /run/test/told')) as Json;
    const [link] = await tagged(host.host);
    assert.equal(link?.group, quarantine, 'still closed');
    assert.deepEqual(
      [told['containerID'], told['labels'], told['interface']],
      [`pod${answer}`, { app: 'web' }, link?.name],
    );
    assert.equal(told['tagHex'], `0x${Number(told['tag']).toString(16)}`);
    const [address] = told['addresses'] as string[];
    const ping = ['ping', '-n', '-c', '1', '-W', '1'];
    assert.equal((await host.host.run([...ping, address!])).exit, 1, 'the node to a pod that is not judged');
    assert.equal((await host.host.run([...ping, '10.77.0.1'], { netns })).exit, 1, 'such a pod to its node');
    await host.host.sh(`echo ${answer} >/run/test/door`);
    const outcome = await adding;
    if (answer === 0) {
      assert.equal(outcome.exit, 0, words(outcome));
      assert.equal((await tagged(host.host))[0]?.group, told['tag']);
      assert.ok(await host.host.pings(address!));
      await cni(host.host, 'DEL', call);
    } else {
      const { msg, details } = errorOf(outcome);
      assert.match(`${msg} ${details}`, /\/run\/test\/judge.*3.*says 3/s);
      assert.deepEqual(await tagged(host.host), []);
    }
  }
});

test('enforcer none: tags, and nothing but tags', async () => {
  using host = await PolicyHost.start();
  host.put('policy.yaml', policy('all', { podSelector: {}, policyTypes: ['Ingress', 'Egress'] }));
  const none: Json = { enforcer: 'none' };
  using a = await host.plug('a', { labels: { role: 'a' }, config: none });
  using b = await host.plug('b', { labels: { role: 'b' }, config: none });
  const groups = [a, b].map(pod => host.groupOf(pod));
  assert.ok(groups.every(isTag) && new Set(groups).size === 2 && !groups.includes(quarantine));
  assert.ok(host.reaches(a, b));
  const names = host.read()!.table.chains.map(({ name }) => name);
  assert.ok(!names.some(name => /^(gate|egress|ingress|node-gate)$/.test(name)), names.join(' '));
});

test('one network namespace has one owner: another enforcer, stateDir or policies is refused with code 7 that names both', async () => {
  using host = await PolicyHost.start();
  using first = await host.plug('first');
  const before = await host.host.sh('nft -s list table inet tollgate');
  for (const other of [{ enforcer: 'none' }, { stateDir: '/run/test/other' }, { policies: '/run/test/other' }]) {
    const netns = await host.host.pod();
    const call = host.callOf('second', netns, { config: { name: 'second', ...other } });
    const { code, msg, details } = errorOf(await cni(host.host, 'ADD', call));
    assert.equal(code, 7);
    const said = `${msg} ${details}`;
    assert.ok(said.includes(stateDir) && said.includes(policies) && said.includes('inline'), said);
    assert.ok(said.includes(Object.values(other)[0]!), said);
    assert.equal((await tagged(host.host)).length, 1);
  }
  assert.equal(await host.host.sh('nft -s list table inet tollgate'), before);
  await first.unplug();
  const call = host.callOf('second', await host.host.pod(), { config: { enforcer: 'none' } });
  assert.equal((await cni(host.host, 'ADD', call)).exit, 0, 'the last pod takes the owner with it');
});

test('chained over ptp the same holds: closed and open as policy says, tagged, spoofing stopped', async () => {
  using host = await PolicyHost.start();
  host.put('policy.yaml', onlyFrom('only', { role: 'server' }, { role: 'friend' }));
  const plug = async (name: string) => {
    const attachment = { containerID: name, netns: await host.host.pod() };
    const ipam = {
      type: 'host-local',
      ranges: [[{ subnet: ranges.v4 }], [{ subnet: ranges.v6 }]],
      dataDir: '/run/test/ipam',
    };
    const routes = { routes: [{ dst: '0.0.0.0/0' }, { dst: '::/0' }] };
    const { ipam: _, ...own } = config({ labels: { role: name } });
    const plugins = [
      { type: 'ptp', ipam: { ...ipam, ...routes } },
      { ...own, type: 'tollgate' },
    ];
    const list: PluginList = { cniVersion: '1.0.0', name: 'chained', plugins };
    const result = await addList(host.host, list, attachment);
    return new PluggedPod(host.host, name, { ...attachment, config: { ...list } }, result);
  };
  using server = await plug('server');
  using friend = await plug('friend');
  using stranger = await plug('stranger');
  for (const pod of [server, friend, stranger]) assert.ok(isTag(host.groupOf(pod)) && host.groupOf(pod) !== quarantine);
  assert.ok(host.reaches(friend, server));
  assert.ok(!host.reaches(stranger, server));
  for (const f of families) {
    const lie = host.packet(friend.addresses[f], server.addresses[f]);
    assert.ok(!host.arrives(stranger.end, lie, server.end));
  }
});

test('a manifest that no longer parses keeps its last good version, with a warning; one that never did fails ADD by name', async () => {
  using host = await PolicyHost.start();
  host.put('policy.yaml', onlyFrom('only', { role: 'server' }, { role: 'friend' }));
  using server = await host.plug('server', { labels: { role: 'server' } });
  using stranger = await host.plug('stranger');
  host.put('policy.yaml', 'kind: [NetworkPolicy');
  const applied = await host.type(['policy', 'apply']);
  assert.equal(applied.exit, 1, words(applied));
  assert.match(applied.stderr, /policy\.yaml.*last good version/s);
  assert.ok(!host.reaches(stranger, server));
  const call = host.callOf('later', await host.host.pod(), { labels: { role: 'friend' } });
  const later = await cni(host.host, 'ADD', call);
  assert.equal(later.exit, 0, words(later));
  assert.match(later.stderr, /policy\.yaml.*last good version/s);
  assert.ok(!host.reaches(stranger, server));
  host.put('never.yaml', '{{ not even a little');
  const failed = errorOf(await cni(host.host, 'ADD', host.callOf('never', await host.host.pod())));
  assert.equal(failed.code, 7);
  assert.match(`${failed.msg} ${failed.details}`, /never\.yaml/);
  assert.ok(!host.reaches(stranger, server), 'those who are here keep what they have');
  host.remove('never.yaml');
  assert.equal((await cni(host.host, 'ADD', host.callOf('never', await host.host.pod()))).exit, 0);
});

const garbage: readonly (readonly [what: string, put: (path: string) => string])[] = [
  ['an error page', path => `echo '404: Not Found' >${path}`],
  ['nothing at all', path => `: >${path}`],
  ['gzip', path => `gzip -c /bin/true >${path}`],
  ['a link to nothing', path => `ln -sfn /nonexistent/x ${path}`],
  ['a link to itself', path => `ln -sfn policy.yaml ${path}`],
  ['a misspelt kind', path => `sed -i s/NetworkPolicy/Networkpolicy/ ${path}`],
];

for (const [what, put] of garbage)
  test(`${what} in the place of a policy leaves it in force, ADD warns, and an ADD that never knew another version fails by name`, async () => {
    using host = await PolicyHost.start();
    host.put('policy.yaml', onlyFrom('only', { role: 'server' }, { role: 'friend' }));
    using server = await host.plug('server', { labels: { role: 'server' } });
    using stranger = await host.plug('stranger');
    await host.host.sh(put(`${policies}/policy.yaml`));
    const later = await cni(host.host, 'ADD', host.callOf('later', await host.host.pod()));
    assert.equal(later.exit, 0, words(later));
    assert.match(later.stderr, /policy\.yaml.*last good version/s);
    assert.ok(!host.reaches(stranger, server));
    if (what === 'nothing at all') {
      assert.equal((await host.type(['policy', 'apply'])).exit, 0, 'which is a confirmation');
      assert.ok(host.reaches(stranger, server));
      return;
    }
    assert.equal((await host.type(['policy', 'apply'])).exit, 1);
    await host.host.sh(`cp -a ${policies}/policy.yaml ${policies}/never.yaml`);
    const failed = errorOf(await cni(host.host, 'ADD', host.callOf('never', await host.host.pod())));
    assert.equal(failed.code, 7);
    assert.match(`${failed.msg} ${failed.details}`, /never\.yaml/);
    assert.ok(!host.reaches(stranger, server));
  });

const endsOfFolder: readonly (readonly [what: string, script: string])[] = [
  ['that is removed', `rm -rf ${policies}`],
  ['with an empty mount over it', `mount -t tmpfs none ${policies}`],
];

for (const [what, script] of endsOfFolder)
  test(`a policies folder ${what} stays in force, ADD warns, and \`policy apply\` confirms it`, async () => {
    using host = await PolicyHost.start();
    host.put('policy.yaml', onlyFrom('only', { role: 'server' }, { role: 'friend' }));
    using server = await host.plug('server', { labels: { role: 'server' } });
    using stranger = await host.plug('stranger');
    await host.host.sh(script);
    const later = await cni(host.host, 'ADD', host.callOf('later', await host.host.pod()));
    assert.equal(later.exit, 0, words(later));
    assert.match(later.stderr, /holds no manifest any more.*stays in force/s);
    assert.ok(!host.reaches(stranger, server));
    assert.equal((await host.type(['policy', 'apply'])).exit, 0);
    assert.ok(host.reaches(stranger, server));
  });

test('an invalid policy closes whom it selects, and is named', async () => {
  using host = await PolicyHost.start();
  const peer = { ipBlock: { cidr: '10.77.0.0/33' } };
  host.put('policy.yaml', policy('bad', { ...pods({ role: 'server' }), ingress: [{ from: [peer] }] }));
  using server = await host.plug('server', { labels: { role: 'server' } });
  using a = await host.plug('a');
  using b = await host.plug('b');
  assert.ok(!host.reaches(a, server));
  assert.ok(host.reaches(a, b));
  const applied = await host.type(['policy', 'apply']);
  assert.equal(applied.exit, 1);
  assert.match(applied.stderr, /policy\.yaml.*cidr/s);
});

/** What somebody else might do to a pod's gate, by nft and ip, and what CHECK must say of it. */
const harms: readonly (readonly [what: string, script: (pod: PluggedPod, tag: number) => string, said: RegExp])[] = [
  ['another tag', pod => `ip link set ${pod.link} group ${0x74670099}`, /tagged 0x74670099/],
  ['no tag', pod => `ip link set ${pod.link} group 0`, /tagged 0x0/],
  [
    'a missing entry of its tag',
    (_, tag) => `nft delete element inet tollgate ingress_by_tag { ${tag} }`,
    /table differs.*ingress_by_tag/s,
  ],
  [
    'its missing address in a set',
    pod =>
      `nft delete element inet tollgate self4 { ${formatAddress(pod.addresses[4])} . ${formatAddress(pod.addresses[4])} }`,
    /table differs.*self4/s,
  ],
  [
    'an emptied chain',
    () => "nft flush chain inet tollgate $(nft list chains | grep -o 'in-[0-9a-f]*')",
    /table differs.*in-[0-9a-f]+/s,
  ],
  [
    'a missing base chain',
    () => 'nft flush chain inet tollgate raw; nft delete chain inet tollgate raw',
    /table differs.*raw/s,
  ],
  ['a flushed ruleset', () => 'nft flush ruleset', /table/],
];

test('CHECK notices what was changed under a pod; `verify --repair` mends it, and so does GC', async () => {
  using host = await PolicyHost.start();
  host.put('policy.yaml', onlyFrom('only', { role: 'server' }, { role: 'friend' }));
  using server = await host.plug('server', { labels: { role: 'server' } });
  using stranger = await host.plug('stranger');
  const tag = host.groupOf(server);
  const whole = await host.words();
  const attachments = [server, stranger].map(({ call }) => ({ containerID: call.containerID, ifname: 'eth0' }));
  const check = () =>
    cni(host.host, 'CHECK', { ...server.call, config: { ...(server.call.config as Json), prevResult: server.result } });
  for (const [i, [what, script, said]] of harms.entries()) {
    assert.equal((await check()).exit, 0, 'before');
    await host.host.sh(script(server, tag));
    const { code, msg, details } = errorOf(await check());
    assert.equal(code, 104, what);
    assert.match(`${msg} ${details}`, said, what);
    assert.equal((await host.type(['verify'])).exit, 1, `verify after ${what}`);
    // A tag is mended by `verify --repair` alone; GC speaks of tables.
    if (i % 2 === 0 || i < 2) await host.type(['verify', '--repair']);
    else {
      const gc = { ...(server.call.config as Json), 'cni.dev/valid-attachments': attachments };
      const outcome = await cni(host.host, 'GC', { config: gc });
      assert.equal(outcome.exit, 0, words(outcome));
    }
    assert.equal(await host.words(), whole, `after ${what}`);
    assert.equal(host.groupOf(server), tag);
    assert.ok(!host.reaches(stranger, server), `after ${what}`);
  }
});

test('`nft flush ruleset` with no owner alive opens the gates until somebody looks: verify says so and mends', async () => {
  using host = await PolicyHost.start();
  host.put('policy.yaml', onlyFrom('only', { role: 'server' }, { role: 'friend' }));
  using server = await host.plug('server', { labels: { role: 'server' } });
  using stranger = await host.plug('stranger');
  assert.equal(host.read()?.owner, false);
  assert.ok(!host.reaches(stranger, server));
  await host.host.sh('nft flush ruleset');
  assert.ok(host.reaches(stranger, server), 'this is what it costs to have no daemon');
  host.forget();
  // Whatever call comes next mends it: here, another pod.
  using next = await host.plug('next', { labels: { role: 'friend' } });
  assert.ok(!host.reaches(stranger, server));
  assert.ok(host.reaches(next, server));
});

const healers = {
  '`policy apply`': (host: PolicyHost) => host.apply(),
  '`verify --repair`': (host: PolicyHost) => host.type(['verify', '--repair']),
  'a DEL of nobody': async (host: PolicyHost) => cni(host.host, 'DEL', host.callOf('nobody', await host.host.pod())),
};

for (const [name, heal] of Object.entries(healers))
  test(`after \`nft flush ruleset\`, ${name} closes the gates again, and cuts what went through meanwhile`, async () => {
    using host = await PolicyHost.start();
    host.put('policy.yaml', onlyFrom('only', { role: 'server' }, { role: 'friend' }));
    using server = await host.plug('server', { labels: { role: 'server' } });
    using stranger = await host.plug('stranger');
    await host.host.sh('nft flush ruleset');
    const flows = families.map(f => host.packet(stranger.addresses[f], server.addresses[f]));
    for (const packet of flows) assert.ok(host.arrives(stranger.end, packet, server.end));
    await heal(host);
    assert.ok(!host.reaches(stranger, server));
    for (const packet of flows) assert.ok(!host.arrives(stranger.end, packet, server.end));
  });

test('`nft flush ruleset` under traffic does not open a gate for an instant while its owner lives', async () => {
  using host = await GateHost.start(2);
  const [a, b] = host.pods as [GatePod, GatePod];
  const identity = { namespace: 'test', labels: new Map<string, string>(), namedPorts: [] };
  const nothing = { name: 'in-nothing', direction: 'ingress', rules: [], policies: [] } as const;
  const table = tableOf([localPod(a, firstIdentity), localPod(b, firstIdentity)], {
    ruleset: {
      sets: new Map(),
      chains: new Map([[nothing.name, nothing]]),
      tags: new Map([[firstIdentity, { identity, egress: 'open', ingress: nothing.name }]]),
    },
  });
  host.nft.commit(createTable(table, { owner: true, persist: true }));
  for (const pod of [a, b]) host.tag(pod, firstIdentity);
  const packet = { from: a.addresses[4], to: b.addresses[4], protocol: PROTOCOL.udp, dport: 80 };
  let isFlushed = false;
  const flushing = host.host.sh('for i in 1 2 3 4 5; do nft flush ruleset; done').then(() => {
    isFlushed = true;
  });
  for (let sport = 1000; !isFlushed || sport < 1100; sport++) {
    for (let i = 0; i < 50; i++) a.end.send({ ...packet, sport });
    await new Promise(resolve => setImmediate(resolve));
  }
  await flushing;
  host.settle();
  assert.deepEqual(
    b.end.take().filter(({ dport }) => dport === 80),
    [],
  );
  assert.equal(host.nft.read(tableName)?.owner, true);
});

test('DEL closes a pod that still sends: nothing passes of what it had open', async () => {
  using host = await PolicyHost.start();
  using server = await host.plug('server');
  using client = await host.plug('client');
  const open = host.packet(client.addresses[4], server.addresses[4], { protocol: PROTOCOL.tcp });
  assert.ok(host.arrives(client.end, open, server.end));
  const outcome = await cni(host.host, 'DEL', client.call);
  assert.equal(outcome.exit, 0, words(outcome));
  const late = { ...open, from: open.to, to: open.from, sport: open.dport, dport: open.sport, flags: TCP_FLAG.ack };
  host.near.take();
  server.end.send(late);
  host.settle();
  assert.deepEqual(
    host.near.take().filter(({ sport }) => sport === late.sport),
    [],
    'nor does it leave by the default route',
  );
});
