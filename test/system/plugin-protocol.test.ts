/** The executable against the letter of CNI 1.1, from outside: environment and stdin in, stdout and exit code out. */
import assert from 'node:assert/strict';
import test, { after, suite } from 'node:test';
import { add, cni, config, errorOf, type Json, type Result, silently, startHost, warm } from '../support/cni.ts';
import { assertNothingLeft, snapshot } from '../support/snapshot.ts';

const host = await startHost();
after(() => host[Symbol.dispose]());

const versions = ['0.1.0', '0.2.0', '0.3.0', '0.3.1', '0.4.0', '1.0.0', '1.1.0'];
const verbs = ['ADD', 'DEL', 'CHECK', 'GC', 'STATUS', 'VERSION'] as const;
const withVersion = (version: string | undefined, more: Json = {}): Json => {
  const { cniVersion: _, ...rest } = config(more, { v4: '10.77.0.0/24', v6: 'fd77::/64' });
  return version === undefined ? rest : { cniVersion: version, ...rest };
};
const someone = { containerID: 'someone', netnsPath: '/run/netns/nowhere', ifname: 'eth0' };

suite('environment', () => {
  const required: Record<(typeof verbs)[number], readonly string[]> = {
    ADD: ['CNI_CONTAINERID', 'CNI_NETNS', 'CNI_IFNAME', 'CNI_PATH'],
    CHECK: ['CNI_CONTAINERID', 'CNI_NETNS', 'CNI_IFNAME', 'CNI_PATH'],
    DEL: ['CNI_CONTAINERID', 'CNI_IFNAME', 'CNI_PATH'],
    GC: ['CNI_PATH'],
    STATUS: ['CNI_PATH'],
    VERSION: [],
  };

  for (const verb of verbs.filter(verb => required[verb].length > 0)) {
    test(`${verb} with nothing set names every variable that it lacks, in one error`, async () => {
      const { code, msg } = errorOf(await cni(host, verb, { config: config(), env: { CNI_PATH: undefined } }));
      assert.equal(code, 4);
      assert.equal(msg, `required env variables [${required[verb].join(',')}] missing`);
    });

    test(`${verb} takes an empty variable for a missing one`, async () => {
      const env = { CNI_PATH: '', CNI_CONTAINERID: 'x', CNI_NETNS: '/run/netns/x', CNI_IFNAME: 'eth0' };
      const { code, msg } = errorOf(await cni(host, verb, { config: config(), env }));
      assert.deepEqual([code, msg], [4, 'required env variables [CNI_PATH] missing']);
    });
  }

  test('an unknown verb is code 4, and named', async () => {
    const { code, msg } = errorOf(await cni(host, 'UPDATE', { ...someone, config: config() }));
    assert.deepEqual([code, msg], [4, 'unknown CNI_COMMAND: UPDATE']);
  });

  test('an empty CNI_COMMAND gets a line about the plugin on stderr, nothing on stdout', async () => {
    const { exit, stdout, stderr } = await cni(host, '', { config: config() });
    assert.deepEqual([exit, stdout], [0, '']);
    assert.match(stderr, /CNI protocol versions supported: 0\.1\.0, .*1\.1\.0/);
  });

  const bad: readonly (readonly [what: string, env: Record<string, string>, msg: RegExp])[] = [
    ['a containerID that starts with a dot', { CNI_CONTAINERID: '.a' }, /invalid characters in containerID/],
    ['a containerID that is a path', { CNI_CONTAINERID: '../../etc/passwd' }, /invalid characters in containerID/],
    ['a containerID with nft in it', { CNI_CONTAINERID: 'a"; flush ruleset; "' }, /invalid characters in containerID/],
    ['an ifname of 16 bytes', { CNI_IFNAME: 'a'.repeat(16) }, /interface name is too long/],
    ['an ifname of 8 characters and 16 bytes', { CNI_IFNAME: 'é'.repeat(8) }, /interface name is too long/],
    ['the ifname ".."', { CNI_IFNAME: '..' }, /interface name is \. or \.\./],
    ['an ifname with a slash', { CNI_IFNAME: 'a/b' }, /interface name contains/],
    ['an ifname with a colon', { CNI_IFNAME: 'a:b' }, /interface name contains/],
    ['an ifname with a space', { CNI_IFNAME: 'a b' }, /interface name contains/],
    ['an ifname that the kernel would count up', { CNI_IFNAME: 'eth%d' }, /interface name contains/],
    ['CNI_ARGS without a value', { CNI_ARGS: 'IP' }, /CNI_ARGS|invalid pair/],
    ['CNI_ARGS with a key that nobody knows', { CNI_ARGS: 'COLOUR=red' }, /COLOUR/],
  ];
  for (const [what, env, message] of bad) {
    test(`ADD refuses ${what} with code 4 and changes nothing`, async () => {
      const before = await snapshot(host);
      const { code, msg, details } = errorOf(await cni(host, 'ADD', { ...someone, config: config(), env }));
      assert.equal(code, 4);
      assert.match(`${msg} ${details}`, message);
      await assertNothingLeft(host, before, 'after a refusal');
    });
  }
});

suite('stdin', () => {
  test('VERSION answers while stdin stays open, and names every version', async () => {
    const run = { openStdin: true, deadline: 60_000 };
    const { exit, json } = await cni(host, 'VERSION', { config: '', run, env: { CNI_PATH: undefined } });
    assert.equal(exit, 0);
    assert.deepEqual(json?.['supportedVersions'], versions);
    assert.ok(versions.includes(String(json?.['cniVersion'])));
  });

  test('VERSION answers a runtime that sends what libcni sends', async () => {
    const dummy = { containerID: 'dummy', ifname: 'dummy', netnsPath: 'dummy' };
    const { exit, json } = await cni(host, 'VERSION', { config: '{"cniVersion":"1.1.0"}', ...dummy });
    assert.deepEqual([exit, json?.['supportedVersions']], [0, versions]);
  });

  const { ipam: _, ...bare } = config();
  const bad: readonly (readonly [what: string, text: string, code: number])[] = [
    ['nothing', '', 6],
    ['half an object', '{"cniVersion":"1.1.0"', 6],
    ['a list', '[]', 6],
    ['NUL bytes', '\0\0\0', 6],
    ['an unknown version', JSON.stringify({ ...config(), cniVersion: '9.9.9' }), 1],
    ['a version that is only a prefix', JSON.stringify({ ...config(), cniVersion: '1.1' }), 1],
    ['no network name', JSON.stringify({ ...config(), name: undefined }), 7],
    ['a network name that is a path', JSON.stringify({ ...config(), name: '../../etc' }), 7],
    ['an unknown enforcer', JSON.stringify({ ...config(), enforcer: 'nobody' }), 7],
    ['a subnet that is none', JSON.stringify(config({}, { v4: '10.77.0.0/33' })), 7],
    ['a subnet with host bits', JSON.stringify(config({}, { v4: '10.77.0.1/24' })), 7],
    ['an IPAM of no type', JSON.stringify({ ...bare, ipam: { ranges: [] } }), 7],
  ];
  for (const [what, text, expected] of bad) {
    test(`${what} is code ${expected}, and changes nothing`, async () => {
      await warm(host, config());
      const before = await snapshot(host);
      const { code } = errorOf(await cni(host, 'ADD', { containerID: 'x', netns: await host.pod(), config: text }));
      assert.equal(code, expected);
      await assertNothingLeft(host, before, 'after a refusal');
    });
  }

  const gates = [
    ['CHECK', ['0.1.0', '0.2.0', '0.3.0', '0.3.1']],
    ['GC', ['0.1.0', '0.2.0', '0.3.0', '0.3.1', '0.4.0', '1.0.0']],
    ['STATUS', ['0.1.0', '0.2.0', '0.3.0', '0.3.1', '0.4.0', '1.0.0']],
  ] as const;
  for (const [verb, before] of gates) {
    test(`a config of a version before ${verb} does not allow it`, async () => {
      for (const version of [undefined, ...before]) {
        const { code, msg } = errorOf(await cni(host, verb, { ...someone, config: withVersion(version) }));
        assert.deepEqual([code, msg], [1, `config version does not allow ${verb}`], `cniVersion ${version}`);
      }
    });
  }

  test('keys count in any case, and null is no value, as for plugins written in Go', async () => {
    const { cniVersion, name, type, ipam, ...own } = config();
    const folded = {
      CNIVERSION: cniVersion,
      Name: name,
      TYPE: type,
      IPAM: ipam,
      dns: null,
      args: null,
      mtu: null,
      ...own,
    };
    const call = { config: folded, containerID: 'folded', netns: await host.pod() };
    const result = await add(host, call);
    assert.equal(result.ips?.length, 1);
    await silently(host, 'DEL', call);
  });
});

suite('each spec version', () => {
  for (const version of [undefined, ...versions]) {
    test(`${version ?? 'none given'}: ADD, CHECK and DEL, with the result that it prescribes`, async () => {
      await warm(host, withVersion('1.1.0'));
      const before = await snapshot(host);
      const netns = await host.pod();
      const call = { config: withVersion(version), containerID: 'versioned', netns };
      const { stdout } = await cni(host, 'ADD', call);
      const result = JSON.parse(stdout) as Json;
      const said = version ?? '0.1.0';
      assert.equal(result['cniVersion'], said);
      assertShape(result, said, netns);
      const again = { ...call, config: { ...withVersion(version), prevResult: result } };
      if (said >= '0.4.0') await silently(host, 'CHECK', again);
      await silently(host, 'DEL', said >= '0.4.0' ? again : call);
      await assertNothingLeft(host, before);
    });
  }

  function assertShape(result: Json, version: string, netns: string): void {
    if (version < '0.3.0') {
      const [v4, v6] = [result['ip4'] as Json, result['ip6'] as Json];
      assert.match(String(v4['ip']), /^10\.77\.0\.\d+\/\d+$/);
      assert.match(String(v6['ip']), /^fd77::[0-9a-f]+\/\d+$/);
      assert.ok(Array.isArray(v4['routes']) && Array.isArray(v6['routes']), JSON.stringify(result));
      assert.ok(!('interfaces' in result || 'ips' in result || 'routes' in result), JSON.stringify(result));
      return;
    }
    const { interfaces, ips } = result as unknown as Result;
    assert.equal(interfaces?.length, 2);
    assert.ok(interfaces[0] && interfaces[1]);
    assert.equal(interfaces[0].sandbox ?? '', '');
    assert.equal(interfaces[0].mac.length, 17);
    assert.deepEqual([interfaces[1].name, interfaces[1].sandbox], ['eth0', `/run/netns/${netns}`]);
    assert.equal(interfaces[1].mtu !== undefined, version === '1.1.0', 'mtu belongs to 1.1.0');
    assert.deepEqual(
      ips?.map(ip => ip.interface),
      [1, 1],
    );
    assert.deepEqual(
      ips?.map(ip => ip.version),
      version < '1.0.0' ? ['4', '6'] : [undefined, undefined],
    );
    assert.ok(!('ip4' in result), JSON.stringify(result));
  }
});
