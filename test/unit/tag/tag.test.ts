import assert from 'node:assert/strict';
import { Buffer } from 'node:buffer';
import { test } from 'node:test';
import fc from 'fast-check';
import { formatAlias, parseAlias, shortID } from '../../../lib/tag/alias.ts';
import { fnv1a64 } from '../../../lib/tag/hash.ts';
import { type Identity, identityKey } from '../../../lib/tag/identity.ts';
import { hostInterfaceName, isHostInterfaceName, linkMac } from '../../../lib/tag/link-name.ts';
import * as tag from '../../../lib/tag/tag.ts';
import { anyText } from '../../support/any-text.ts';

/** Vectors of the authors of FNV. */
const vectors: readonly (readonly [string, string])[] = [
  ['', 'cbf29ce484222325'],
  ['a', 'af63dc4c8601ec8c'],
  ['foobar', '85944171f73967e8'],
  ['chongo was here!\n', '46810940eff5f915'],
];
for (const [text, hash] of vectors) {
  test(`FNV-1a of ${JSON.stringify(text)} is ${hash}`, () => assert.equal(fnv1a64(text), hash));
}

test('FNV-1a in two halves is that of one big number, for any text', () => {
  const plain = (text: string) => {
    let hash = 0xcbf29ce484222325n;
    for (const byte of Buffer.from(text)) hash = ((hash ^ BigInt(byte)) * 0x100000001b3n) & 0xffffffffffffffffn;
    return hash.toString(16).padStart(16, '0');
  };
  fc.assert(fc.property(anyText(), text => assert.equal(fnv1a64(text), plain(text))));
});

const groups: readonly (readonly [number, boolean, boolean, string])[] = [
  [0, false, false, '0x00000000 (not ours)'],
  [0x7466ffff, false, false, '0x7466ffff (not ours)'],
  [0x74670000, true, false, 'quarantine'],
  [0x74670001, true, true, '0x74670001'],
  [0x7467fffd, true, true, '0x7467fffd'],
  [0x7467ffff, true, false, 'condemned'],
  [0x7467fffe, true, false, 'deleting'],
  [0x74680000, false, false, '0x74680000 (not ours)'],
  [0xf4670001, false, false, '0xf4670001 (not ours)'],
  [0xffffffff, false, false, '0xffffffff (not ours)'],
];
for (const [group, isOurs, isIdentity, text] of groups) {
  test(`group ${group} is called ${text}`, () => {
    assert.equal(tag.isOurs(group), isOurs);
    assert.equal((group & tag.tagMask) >>> 0 === tag.tagBase, isOurs);
    assert.equal(tag.isIdentity(group), isIdentity);
    assert.equal(tag.describeTag(group), text);
    assert.equal(Number(tag.formatTag(group)), group);
  });
}

const hash64 = '3f2a'.repeat(16);
const aliases: readonly (readonly [string, string, string, string])[] = [
  ['shop', 'web-0', hash64, 'tollgate:shop/web-0:3f2a3f2a3f2a3'],
  [
    'default',
    'cnitool-77383ca0a0715733ca6f',
    'cnitool-77383ca0a0715733ca6f',
    'tollgate:default/cnitool-77383ca0a0715733ca6f:cnitool-77383ca0a0715733ca6f',
  ],
  ['my_pod', 'A.b', 'c1', 'tollgate:my_pod/A.b:c1'],
  ['a/b', 'c:d', 'c1', 'tollgate:a%2Fb/c%3Ad:c1'],
  ['ä', '%d+~*', 'c1', 'tollgate:%C3%A4/%25d%2B%7E%2A:c1'],
  ['a"b', 'c\nd\0', 'c1', 'tollgate:a%22b/c%0Ad%00:c1'],
];
for (const [namespace, pod, containerID, alias] of aliases) {
  test(`${JSON.stringify(`${namespace}/${pod}`)} has the alias ${alias}, and can be read from it`, () => {
    assert.equal(formatAlias({ namespace, pod, containerID }), alias);
    assert.deepEqual(parseAlias(alias), { namespace, pod, shortID: shortID(containerID), isCut: false });
  });
}

test('the longest names of Kubernetes: the namespace is whole, the pod is cut and says so', () => {
  const alias = formatAlias({ namespace: 'n'.repeat(63), pod: 'p'.repeat(253), containerID: hash64 });
  assert.equal(alias.length, 255);
  const parsed = parseAlias(alias);
  assert.equal(parsed?.namespace, 'n'.repeat(63));
  assert.equal(parsed?.pod, 'p'.repeat(255 - 'tollgate:/:+'.length - 63 - 13));
  assert.equal(parsed?.isCut, true);
});

test('a namespace is cut only beyond 63 bytes, and only as far as the pod’s name needs', () => {
  const whole = formatAlias({ namespace: 'n'.repeat(200), pod: 'p', containerID: 'c1' });
  assert.equal(parseAlias(whole)?.namespace, 'n'.repeat(200));
  const both = formatAlias({ namespace: 'n'.repeat(300), pod: 'p'.repeat(300), containerID: 'c1' });
  assert.equal(parseAlias(both)?.namespace, 'n'.repeat(62));
  assert.equal(Buffer.byteLength(both), 255);
});

test('a name is never cut inside a character', () => {
  for (let length = 0; length < 12; length++) {
    const pod = 'p'.repeat(length) + '🚪é'.repeat(100);
    const parsed = parseAlias(formatAlias({ namespace: 'n', pod, containerID: 'c1' }));
    assert.ok(parsed && parsed.pod.length > 20 && pod.startsWith(parsed.pod));
  }
});

const anyName = anyText({ minLength: 1, maxLength: 400 });
const anyID = fc.stringMatching(/^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,299}$/);
test('any alias fits 255 bytes, keeps prefix and short containerID, and is read back', () => {
  fc.assert(
    fc.property(anyName, anyName, anyID, (namespace, pod, containerID) => {
      const alias = formatAlias({ namespace, pod, containerID });
      assert.ok(Buffer.byteLength(alias) <= 255, alias);
      assert.match(alias, /^tollgate:[ -~]+$/);
      const parsed = parseAlias(alias);
      assert.equal(parsed?.shortID, shortID(containerID));
      if (parsed?.isCut) assert.ok(namespace.startsWith(parsed.namespace) && pod.startsWith(parsed.pod));
      else assert.deepEqual([parsed?.namespace, parsed?.pod], [namespace, pod]);
    }),
  );
});

for (const alias of [
  '',
  'tollgate:',
  'tollgate:a/b',
  'tollgate:a:c',
  'Tollgate:a/b:c',
  'tollgate:a/b:c d',
  'tollgate:a/b/c:d',
  'tollgate:%zz/b:c',
  'tollgate:%ff/b:c',
  'link-pod a/b',
  `tollgate:${'a'.repeat(250)}/b:c`,
]) {
  test(`the alias ${JSON.stringify(alias.slice(0, 40))} is not of our making`, () =>
    assert.equal(parseAlias(alias), undefined));
}

const key = { network: 'net', containerID: hash64, ifname: 'eth0' };
test('the host’s end has a name that never changes, since DEL finds it by nothing else', () => {
  assert.equal(hostInterfaceName(key), 'tgckkcj6nzcnmcm');
  assert.equal(linkMac(key, 'host'), '02:82:6d:8f:9a:7a');
  assert.equal(linkMac(key, 'pod'), '02:4c:4c:4a:87:d6');
});

test('name and addresses depend on network, container and interface, and on where one ends and the next begins', () => {
  const keys = [
    key,
    { ...key, network: 'net2' },
    { ...key, containerID: 'c1' },
    { ...key, ifname: 'eth1' },
    { network: 'ne', containerID: `t${hash64}`, ifname: 'eth0' },
    { network: 'net', containerID: `${hash64}e`, ifname: 'th0' },
  ];
  const all = keys.flatMap(one => [hostInterfaceName(one), linkMac(one, 'host'), linkMac(one, 'pod')]);
  assert.equal(new Set(all).size, all.length);
});

test('any host end has a name of 15 bytes that is ours, and both ends a local unicast address', () => {
  fc.assert(
    fc.property(anyID, anyID, anyName, (network, containerID, ifname) => {
      const name = hostInterfaceName({ network, containerID, ifname });
      assert.ok(isHostInterfaceName(name) && name.length === 15, name);
      for (const end of ['host', 'pod'] as const)
        assert.match(linkMac({ network, containerID, ifname }, end), /^02(:[0-9a-f]{2}){5}$/);
    }),
  );
});

test('10,000 attachments have 10,000 names and 20,000 addresses', () => {
  const all = Array.from({ length: 10_000 }, (_, i) => ({ network: 'net', containerID: `c${i}`, ifname: 'eth0' }));
  assert.equal(new Set(all.map(hostInterfaceName)).size, 10_000);
  assert.equal(new Set(all.flatMap(one => [linkMac(one, 'host'), linkMac(one, 'pod')])).size, 20_000);
});

const web = { name: 'http', port: 80, protocol: 'TCP' };
const dns = { name: 'dns', port: 53, protocol: 'UDP' };
test('an identity is one text, whatever order its labels and ports came in', () => {
  const one = identityKey({
    namespace: 'shop',
    labels: new Map([
      ['a', '1'],
      ['b', '2'],
    ]),
    namedPorts: [web, dns, web],
  });
  const other = identityKey({
    namespace: 'shop',
    labels: new Map([
      ['b', '2'],
      ['a', '1'],
    ]),
    namedPorts: [dns, web],
  });
  assert.equal(one, other);
  assert.equal(one, '["shop",[["a","1"],["b","2"]],[["dns",53,"UDP"],["http",80,"TCP"]]]');
});

const identity: fc.Arbitrary<Identity> = fc.record({
  namespace: anyText({ maxLength: 3 }),
  labels: fc
    .dictionary(fc.constantFrom('a', 'b', '",["', '__proto__'), fc.constantFrom('', 'x', '","x', '\\"'))
    .map(found => new Map(Object.entries(found))),
  namedPorts: fc.array(
    fc.record({ name: fc.constantFrom('p', 'q"'), port: fc.nat(2), protocol: fc.constantFrom('TCP', 'UDP') }),
    { maxLength: 2 },
  ),
});
const isSame = (a: Identity, b: Identity): boolean => {
  const ports = ({ namedPorts }: Identity) =>
    new Set(namedPorts.map(port => `${port.protocol} ${port.port} ${port.name}`));
  return (
    a.namespace === b.namespace &&
    a.labels.size === b.labels.size &&
    [...a.labels].every(([name, value]) => b.labels.get(name) === value) &&
    ports(a).size === ports(b).size &&
    [...ports(a)].every(port => ports(b).has(port))
  );
};
test('two identities have the same key just when nothing tells them apart', () => {
  fc.assert(
    fc.property(identity, identity, (a, b) => assert.equal(identityKey(a) === identityKey(b), isSame(a, b))),
    {
      numRuns: 2000,
    },
  );
});
