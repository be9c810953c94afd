import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { attachmentsToKeep, type Config, parseConfig } from '../../../lib/cni/config.ts';
import { CniError } from '../../../lib/cni/error.ts';
import { formatEnforcer, type OwnKeys } from '../../../lib/cni/own-keys.ts';
import type { Role, Verb } from '../../../lib/cni/request.ts';
import { editDistance, meantKey } from '../../../lib/cni/spelling.ts';
import { formatPrefix } from '../../../lib/ip/address.ts';
import { anyText } from '../../support/any-text.ts';

const read = (extra: object, verb: Verb = 'ADD', role: Role = 'tollgate'): Config =>
  parseConfig(JSON.stringify({ cniVersion: '1.1.0', name: 'net', type: 'tollgate', ...extra }), verb, role);

const failure = (code: number, message: RegExp) => (error: unknown) => {
  assert.ok(error instanceof CniError, `${error}`);
  assert.equal(error.code, code, error.message);
  assert.match(`${error.message} ${error.details ?? ''}`, message);
  return true;
};

test('every key of tollgate has the default that the README promises', () => {
  const { mtu, nonMasqueradeCIDRs, logFile, ...config } = read({});
  assert.deepEqual([mtu, nonMasqueradeCIDRs, logFile], [undefined, undefined, undefined]);
  assert.deepEqual(config, {
    cniVersion: '1.1.0',
    name: 'net',
    type: 'tollgate',
    runtime: { portMappings: [], ips: [], rangeSets: [], labels: new Map(), annotations: new Map() },
    argsCni: { labels: new Map(), ips: [] },
    text: '{"cniVersion":"1.1.0","name":"net","type":"tollgate"}',
    warnings: [],
    ipMasq: false,
    labels: new Map(),
    enforcer: { kind: 'inline' },
    policies: '/etc/tollgate/policies',
    established: 'cut',
    enforceTimeout: 60,
    enforceEgressToNode: false,
    nflogGroup: 7467,
    agentGrace: 60,
    stateDir: '/var/lib/tollgate',
    runDir: '/run/tollgate',
    logLevel: 'warn',
  });
});

/** Key, a value that is good, what it is read as, values that are not good. */
const ownRows: readonly (readonly [keyof OwnKeys, unknown, unknown, readonly unknown[]])[] = [
  ['mtu', 1450, 1450, ['1450', 67, 65536, 1.5, -1, true, []]],
  ['ipMasq', true, true, ['true', 1, {}]],
  ['nonMasqueradeCIDRs', ['10.0.0.0/8', 'fd00::/8'], ['10.0.0.0/8', 'fd00::/8'], ['10.0.0.0/8', ['10.0.0.0'], [1], {}]],
  [
    'labels',
    { App: 'Web', constructor: 'x' },
    [
      ['App', 'Web'],
      ['constructor', 'x'],
    ],
    ['a=b', [{ key: 'a' }], { a: 1 }],
  ],
  ['enforcer', 'exec:/opt/judge', 'exec:/opt/judge', ['Inline', 'exec:judge', 'exec:', 'exec:/a\0', true, {}]],
  ['policies', '/p', '/p', ['p', '', 1, '/a\0b']],
  ['established', 'keep', 'keep', ['Cut', '', 1]],
  ['enforceTimeout', 5, 5, [0, 3601, '60', 0.5]],
  ['enforceEgressToNode', true, true, ['yes', 0]],
  ['nflogGroup', 0, 0, [-1, 65536, '1']],
  ['agentGrace', 0, 0, [-1, 86401, '60s']],
  ['stateDir', '/s', '/s', ['s', '', 1]],
  ['runDir', '/r', '/r', ['./r', '', 1]],
  ['logLevel', 'debug', 'debug', ['DEBUG', 'trace', 3]],
  ['logFile', '/var/log/tollgate.log', '/var/log/tollgate.log', ['tollgate.log', 1]],
];

const comparable = (config: Config, key: keyof OwnKeys): unknown => {
  if (key === 'enforcer') return formatEnforcer(config.enforcer);
  if (key === 'labels') return [...config.labels];
  if (key === 'nonMasqueradeCIDRs') return config.nonMasqueradeCIDRs?.map(formatPrefix);
  return config[key];
};

for (const [key, good, wanted, bad] of ownRows) {
  test(`${key} is read in any case of letters, and null is absent`, () => {
    for (const spelt of [key, key.toUpperCase(), key.toLowerCase()])
      assert.deepEqual(comparable(read({ [spelt]: good }), key), wanted);
    assert.deepEqual(comparable(read({ [key]: null }), key), comparable(read({}), key));
  });
  for (const value of bad) {
    test(`${key}: ${JSON.stringify(value)} is code 7 and names key, value and what is expected`, () => {
      assert.throws(() => read({ [key]: value }), failure(7, new RegExp(`^Cannot use .+ for "${key}.*": expected .+`)));
    });
  }
}

test('every key of tollgate has a row', () => {
  const config: OwnKeys = read({ mtu: 1500, nonMasqueradeCIDRs: [], logFile: '/l' });
  const others = ['cniVersion', 'name', 'type', 'runtime', 'argsCni', 'text', 'warnings'];
  const own = Object.keys(config).filter(key => !others.includes(key));
  assert.deepEqual(ownRows.map(([key]) => key).sort(), own.sort());
});

test('an MTU of 0 is automatic, as for bridge and ptp', () => assert.equal(read({ mtu: 0 }).mtu, undefined));

for (const kind of ['inline', 'agent', 'none']) {
  test(`enforcer ${kind} is read and printed`, () =>
    assert.equal(formatEnforcer(read({ enforcer: kind }).enforcer), kind));
}

const versions: readonly (readonly [object, string | RegExp, number])[] = [
  [{}, '1.1.0', 0],
  [{ cniVersion: undefined }, '0.1.0', 0],
  [{ cniVersion: null }, '0.1.0', 0],
  [{ cniVersion: '' }, '0.1.0', 0],
  [{ cniVersion: '0.3.1' }, '0.3.1', 0],
  [{ cniVersion: '1.1' }, /incompatible CNI versions config is "1\.1", plugin supports \["0\.1\.0",.*"1\.1\.0"\]/, 1],
  [{ cniVersion: '9.9.9' }, /incompatible CNI versions/, 1],
  [{ cniVersion: 'nonsense' }, /incompatible CNI versions/, 1],
  [{ cniVersion: 1 }, /Cannot decode "cniVersion"/, 6],
];
for (const [extra, wanted, code] of versions) {
  test(`${JSON.stringify(extra)} ${code ? `is code ${code}` : `means ${wanted}`}`, () => {
    if (wanted instanceof RegExp) assert.throws(() => read(extra), failure(code, wanted));
    else assert.equal(read(extra).cniVersion, wanted);
  });
}

const names: readonly (readonly [unknown, boolean])[] = [
  ['net', true],
  ['a'.repeat(300), true],
  ['0_a.b-c', true],
  [undefined, false],
  [null, false],
  ['', false],
  ['../net', false],
  ['.net', false],
  ['a b', false],
  ['a%d', false],
  ['a\u0000', false],
  [7, false],
];
for (const [name, isGood] of names) {
  test(`the network name ${JSON.stringify(name)?.slice(0, 20)} is ${isGood ? 'carried' : 'code 7 on every verb'}`, () => {
    for (const verb of ['ADD', 'DEL', 'CHECK', 'GC', 'STATUS'] as const) {
      if (isGood) assert.equal(read({ name }, verb).name, name);
      else assert.throws(() => read({ name }, verb), failure(7, /"name"/));
    }
  });
}

test('keys in capitals throughout are read as Go reads them, and free maps keep their case', () => {
  const config = parseConfig(
    JSON.stringify({
      CNIVERSION: '1.0.0',
      NAME: 'net',
      IPAM: { TYPE: 'tollgate-ipam', SUBNET: '10.0.0.0/24', RangeStart: '10.0.0.5' },
      RUNTIMECONFIG: { 'IO.Kubernetes.CRI.Pod-Annotations': { Key: 'a', key: 'b' }, LABELS: { App: 'x', app: 'y' } },
      ARGS: { CNI: { LABELS: [{ KEY: 'K', VALUE: 'V' }] } },
    }),
    'ADD',
  );
  assert.equal(config.cniVersion, '1.0.0');
  const sets = config.ipam?.rangeSets.map(set => set.map(({ subnet }) => formatPrefix(subnet)));
  assert.deepEqual(sets, [['10.0.0.0/24']]);
  assert.deepEqual([...config.runtime.annotations.keys()], ['Key', 'key']);
  assert.deepEqual([...config.runtime.labels.keys()], ['App', 'app']);
  assert.deepEqual([...config.argsCni.labels], [['K', 'V']]);
});

test('of two keys that differ in case only the later counts, but null does not undo the earlier', () => {
  assert.equal(read({ mtu: 1400, MTU: 1500 }).mtu, 1500);
  assert.equal(read({ mtu: 1400, MTU: null }).mtu, 1400);
});

test('unknown keys never fail, whatever they are', () => {
  const key = anyText().filter(text => text.length > 12);
  fc.assert(
    fc.property(key, fc.jsonValue(), (name, value) => {
      assert.doesNotThrow(() =>
        read({ 'some.vendor/key': value, [`x-${name}`]: value, runtimeConfig: { [name]: value } }),
      );
    }),
  );
});

const spelling: readonly (readonly [string, string | undefined])[] = [
  ['nonMasqueradeCIDR', 'nonMasqueradeCIDRs'],
  ['ipmasq', undefined],
  ['ipMask', 'ipMasq'],
  ['enforcre', 'enforcer'],
  ['polices', 'policies'],
  ['lables', 'labels'],
  ['mut', 'mtu'],
  ['runtimeconfg', 'runtimeConfig'],
  ['isGateway', undefined],
  ['bridge', undefined],
  ['x', undefined],
  ['cni.dev/valid-attachments', undefined],
  ['disableCheck', undefined],
];
for (const [key, meant] of spelling) {
  test(`the key "${key}" gets ${meant ? `a warning that means "${meant}"` : 'no warning'}`, () => {
    const warned = read({ [key]: true }).warnings;
    assert.deepEqual(warned, meant ? [`Unknown key "${key}" is ignored: did you mean "${meant}"?`] : []);
  });
}

test('a misspelt key of our own IPAM gets a warning, a delegate’s keys are the delegate’s', () => {
  assert.deepEqual(read({ ipam: { type: 'tollgate-ipam', subnets: '10.0.0.0/24' } }).warnings, [
    'Unknown key "ipam.subnets" is ignored: did you mean "subnet"?',
  ]);
  assert.deepEqual(read({ ipam: { type: 'host-local', subnets: 7, ranges: 'odd' } }).warnings, []);
});

test('the edit distance is that of Damerau: a change, an addition, a loss, a swap count one each', () => {
  const rows: readonly (readonly [string, string, number])[] = [
    ['', '', 0],
    ['abc', 'abc', 0],
    ['abc', 'abd', 1],
    ['abc', 'abcd', 1],
    ['abc', 'bc', 1],
    ['abc', 'acb', 1],
    ['kitten', 'sitting', 3],
    ['', 'abc', 3],
  ];
  for (const [a, b, distance] of rows) {
    assert.equal(editDistance(a, b), distance, `${a} ${b}`);
    assert.equal(editDistance(b, a), distance, `${b} ${a}`);
  }
  assert.equal(meantKey('constructor', ['labels']), undefined);
});

const attachments = [{ containerID: 'c1', ifname: 'eth0' }];
const gcRows: readonly (readonly [string, object, unknown, unknown])[] = [
  ['no key', {}, undefined, undefined],
  ['null', { 'cni.dev/valid-attachments': null }, null, []],
  ['an empty list', { 'cni.dev/valid-attachments': [] }, [], []],
  ['a list', { 'cni.dev/valid-attachments': attachments }, attachments, attachments],
  ['the old name', { 'cni.dev/attachments': attachments }, attachments, attachments],
  ['null under the old name', { 'cni.dev/attachments': null }, null, []],
  [
    'null under one name and a list under the other',
    { 'cni.dev/valid-attachments': null, 'cni.dev/attachments': attachments },
    attachments,
    attachments,
  ],
  [
    'keys in capitals',
    { 'CNI.DEV/Valid-Attachments': [{ ContainerID: 'c1', IfName: 'eth0' }] },
    attachments,
    attachments,
  ],
];
for (const [what, extra, said, kept] of gcRows) {
  test(`GC with ${what} keeps ${kept === undefined ? 'whatever may live' : JSON.stringify(kept)}`, () => {
    const config = read(extra, 'GC');
    assert.deepEqual(config.validAttachments, said);
    assert.deepEqual(attachmentsToKeep(config.validAttachments), kept);
  });
}

test('the same attachments under both names, as libcni sends them, are kept, and both lists where they differ', () => {
  const other = { containerID: 'c2', ifname: 'eth0' };
  const config = read({ 'cni.dev/valid-attachments': attachments, 'cni.dev/attachments': [other] }, 'GC');
  assert.deepEqual(config.validAttachments, [...attachments, other]);
});

for (const junk of ['', {}, 7, ['c1'], [{ containerID: 'c1' }], [{ ifname: 'eth0', containerID: 7 }]]) {
  test(`GC never takes ${JSON.stringify(junk)} for an empty list of attachments`, () => {
    assert.throws(() => read({ 'cni.dev/valid-attachments': junk }, 'GC'), failure(7, /cni\.dev\/valid-attachments/));
  });
}

const broken = {
  mtu: 'big',
  labels: [],
  established: 'maybe',
  dns: 'x',
  args: 7,
  runtimeConfig: { portMappings: 'x', ips: ['y'], mac: 'z' },
  ipam: { type: 'tollgate-ipam', subnet: 'x', ranges: 7, routes: 'x', resolvConf: 'rel' },
};
test('DEL and GC overlook what only ADD needs, with a warning for each key', () => {
  for (const verb of ['DEL', 'GC'] as const) {
    const config = read(broken, verb);
    assert.equal(config.mtu, undefined);
    assert.equal(config.established, 'cut');
    assert.deepEqual(config.ipam?.rangeSets, []);
    for (const key of [
      'mtu',
      'labels',
      'established',
      'dns',
      'args',
      'portMappings',
      'ips',
      'mac',
      'subnet',
      'ranges',
      'routes',
      'resolvConf',
    ])
      assert.ok(
        config.warnings.some(line => line.includes(key) && line.endsWith(`(overlooked on ${verb})`)),
        key,
      );
  }
});

const strictOnDel: readonly (readonly [string, object])[] = [
  ['stateDir', { stateDir: 'rel' }],
  ['runDir', { runDir: 7 }],
  ['enforcer', { enforcer: 'agnet' }],
  ['policies', { policies: 'rel' }],
  ['ipam', { ipam: 'x' }],
  ['ipam.type', { ipam: { subnet: '10.0.0.0/24' } }],
];
for (const [key, extra] of strictOnDel) {
  test(`DEL, too, refuses a wrong ${key}: it would look in the wrong place`, () => {
    for (const verb of ['ADD', 'DEL'] as const)
      assert.throws(() => read(extra, verb), failure(7, new RegExp(`"${key}"`)));
  });
}

const prevResult = {
  cniVersion: '1.1.0',
  interfaces: [{ name: 'eth0' }],
  ips: [{ address: '10.0.0.7/24', interface: 0 }],
};
const prevRows: readonly (readonly [string, unknown, RegExp | undefined])[] = [
  ['of the config’s version', prevResult, undefined],
  ['without a version', { ...prevResult, cniVersion: undefined }, undefined],
  [
    'of another version',
    { ...prevResult, cniVersion: '0.4.0' },
    /prevResult\.cniVersion.*expected the config's, "1\.1\.0"/,
  ],
  ['with a bad address', { ips: [{ address: '10.0.0.7' }] }, /prevResult\.ips\[0\]\.address/],
  ['that is a string', 'garbage', /"prevResult": expected an object/],
];
for (const [what, value, problem] of prevRows) {
  test(`a prevResult ${what} is ${problem ? 'code 7 on ADD and CHECK and no obstacle to DEL' : 'read'}`, () => {
    for (const verb of ['ADD', 'CHECK'] as const) {
      if (problem) assert.throws(() => read({ prevResult: value }, verb), failure(7, problem));
      else assert.equal(read({ prevResult: value }, verb).prevResult?.ips.length, 1);
    }
    assert.doesNotThrow(() => read({ prevResult: value }, 'DEL'));
  });
}
test('DEL says so where it cannot use the prevResult, and uses one of another version', () => {
  const garbage = read({ prevResult: 'garbage' }, 'DEL');
  assert.equal(garbage.prevResult, undefined);
  assert.match(garbage.warnings.join(), /prevResult is ignored/);
  const older = { cniVersion: '0.2.0', ip4: { ip: '10.0.0.7/24' } };
  assert.equal(read({ prevResult: older }, 'DEL').prevResult?.ips.length, 1);
});

test('any prevResult at all is no obstacle to DEL', () => {
  fc.assert(fc.property(fc.jsonValue(), value => assert.doesNotThrow(() => read({ prevResult: value }, 'DEL'))));
});

test('an IPAM plugin does not read the main plugin’s keys', () => {
  const foreign = { mtu: 'auto', labels: 7, enforcer: 'x', stateDir: 9, mut: 1, dns: 7, ipMasq: 'please' };
  const config = read({ ...foreign, ipam: { type: 'tollgate-ipam', subnet: '10.0.0.0/24' } }, 'ADD', 'tollgate-ipam');
  assert.equal(config.ipam?.rangeSets.length, 1);
  assert.equal(config.stateDir, '/var/lib/tollgate');
  assert.deepEqual(config.warnings, []);
});

test('a megabyte in the wrong place comes back as a short message', () => {
  const huge = 'x'.repeat(1 << 20);
  for (const extra of [{ mtu: huge }, { labels: { [huge]: 1 } }, { runtimeConfig: { ips: [huge] } }])
    assert.throws(
      () => read(extra),
      (error: unknown) => failure(7, /…/)(error) && (error as Error).message.length < 1000,
    );
});

test('any JSON at all is read or refused with a code', () => {
  fc.assert(
    fc.property(fc.json(), stdin => {
      try {
        parseConfig(stdin, 'ADD');
      } catch (error) {
        assert.ok(error instanceof CniError && [1, 6, 7].includes(error.code), `${error}`);
      }
    }),
  );
});
