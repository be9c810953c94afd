import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { CniError } from '../../../lib/cni/error.ts';
import { printResult, type Result, type ResultRoute, readResult } from '../../../lib/cni/result.ts';
import { atLeast, type CniVersion, supportedVersions } from '../../../lib/cni/version.ts';
import { parseAddress, parsePrefix } from '../../../lib/ip/address.ts';

const result: Result = {
  interfaces: [
    { name: 'tghost', mac: '02:00:00:00:00:01' },
    {
      name: 'eth0',
      mac: '02:00:00:00:00:02',
      sandbox: '/run/netns/c1',
      mtu: 1450,
      socketPath: '/s',
      pciID: '0000:00:01.0',
    },
  ],
  ips: [
    { address: parsePrefix('10.0.0.7/24')!, gateway: parseAddress('10.0.0.1')!, interface: 1 },
    { address: parsePrefix('10.0.1.7/24')!, interface: 0 },
    { address: parsePrefix('fd00::7/64')!, gateway: parseAddress('fd00::1')! },
  ],
  routes: [
    {
      dst: parsePrefix('0.0.0.0/0')!,
      gw: parseAddress('10.0.0.1')!,
      mtu: 1400,
      advmss: 1360,
      priority: 5,
      table: 100,
      scope: 0,
    },
    { dst: parsePrefix('::/0')! },
  ],
  dns: { nameservers: ['10.0.0.10'], domain: 'cluster.local', search: ['svc'], options: ['ndots:5'] },
};

const dns = { nameservers: ['10.0.0.10'], domain: 'cluster.local', search: ['svc'], options: ['ndots:5'] };
const byFamily = (cniVersion: string) => ({
  cniVersion,
  ip4: { ip: '10.0.0.7/24', gateway: '10.0.0.1', routes: [{ dst: '0.0.0.0/0', gw: '10.0.0.1' }] },
  ip6: { ip: 'fd00::7/64', gateway: 'fd00::1', routes: [{ dst: '::/0' }] },
  dns,
});
const interfaces = [
  { name: 'tghost', mac: '02:00:00:00:00:01' },
  { name: 'eth0', mac: '02:00:00:00:00:02', sandbox: '/run/netns/c1' },
];
const routes = [{ dst: '0.0.0.0/0', gw: '10.0.0.1' }, { dst: '::/0' }];
const withFamilies = (cniVersion: string) => ({
  cniVersion,
  interfaces,
  ips: [
    { version: '4', interface: 1, address: '10.0.0.7/24', gateway: '10.0.0.1' },
    { version: '4', interface: 0, address: '10.0.1.7/24' },
    { version: '6', address: 'fd00::7/64', gateway: 'fd00::1' },
  ],
  routes,
  dns,
});
const ips = [
  { interface: 1, address: '10.0.0.7/24', gateway: '10.0.0.1' },
  { interface: 0, address: '10.0.1.7/24' },
  { address: 'fd00::7/64', gateway: 'fd00::1' },
];

/** The same result, to the letter, in every version. */
const golden: Readonly<Record<CniVersion, object>> = {
  '0.1.0': byFamily('0.1.0'),
  '0.2.0': byFamily('0.2.0'),
  '0.3.0': withFamilies('0.3.0'),
  '0.3.1': withFamilies('0.3.1'),
  '0.4.0': withFamilies('0.4.0'),
  '1.0.0': { cniVersion: '1.0.0', interfaces, ips, routes, dns },
  '1.1.0': {
    cniVersion: '1.1.0',
    interfaces: [interfaces[0], { ...interfaces[1], mtu: 1450, socketPath: '/s', pciID: '0000:00:01.0' }],
    ips,
    routes: [{ ...routes[0], mtu: 1400, advmss: 1360, priority: 5, table: 100, scope: 0 }, routes[1]],
    dns,
  },
};

for (const version of supportedVersions) {
  test(`a result is printed in ${version} with what that version knows and nothing else`, () => {
    assert.deepEqual(printResult(result, version), golden[version]);
  });
  test(`a result of ${version} is read back, and printed again it is the same`, () => {
    const read = readResult(golden[version], 'prevResult', '1.1.0');
    assert.equal(read.version, version);
    assert.deepEqual(printResult(read.result, version), golden[version]);
  });
}

test('every version has a golden result', () => assert.deepEqual(Object.keys(golden), [...supportedVersions]));

test('interface index 0 is printed, an absent one stays absent', () => {
  const [, first, last] = result.ips;
  const printed = JSON.stringify(printResult({ interfaces: [], ips: [first!, last!], routes: [] }, '1.0.0'));
  assert.equal(
    printed,
    '{"cniVersion":"1.0.0","ips":[{"interface":0,"address":"10.0.1.7/24"},{"address":"fd00::7/64","gateway":"fd00::1"}]}',
  );
});

test('what is empty is left out, in every version that can do without addresses', () => {
  const empty: Result = { interfaces: [], ips: [], routes: [], dns: { nameservers: [], search: [] } };
  for (const version of supportedVersions.filter(version => atLeast(version, '0.3.0')))
    assert.deepEqual(printResult(empty, version), { cniVersion: version });
});

for (const version of ['0.1.0', '0.2.0'] as const) {
  test(`a result without any address cannot be said in ${version}`, () => {
    assert.throws(
      () => printResult({ interfaces: [], ips: [], routes: [] }, version),
      (error: unknown) => error instanceof CniError && error.code === 1 && error.message.includes(version),
    );
  });
  test(`in ${version} the routes of a family without an address are dropped`, () => {
    const only6 = { ...result, ips: result.ips.slice(2) };
    assert.deepEqual(Object.keys(printResult(only6, version)), ['cniVersion', 'ip6', 'dns']);
  });
}

const reading: readonly (readonly [string, unknown, object | RegExp])[] = [
  [
    'without a version, which then is the config’s',
    { ips: [{ address: '10.0.0.7/24' }] },
    { cniVersion: '1.0.0', ips: [{ address: '10.0.0.7/24' }] },
  ],
  [
    'with keys in capitals and nulls',
    { CNIVersion: '1.0.0', IPs: [{ Address: '10.0.0.7/24', Gateway: null }], Routes: null, DNS: {} },
    { cniVersion: '1.0.0', ips: [{ address: '10.0.0.7/24' }] },
  ],
  [
    'with empty texts for what is absent',
    { ips: [{ address: '10.0.0.7/24', gateway: '' }], interfaces: [{ name: 'e', mac: '', sandbox: '' }] },
    { cniVersion: '1.0.0', interfaces: [{ name: 'e' }], ips: [{ address: '10.0.0.7/24' }] },
  ],
  ['with unknown keys', { ips: [], vendor: { x: 1 } }, { cniVersion: '1.0.0' }],
  ['that is a list', [], /"prevResult": expected an object/],
  ['whose route has no length', { routes: [{ dst: '10.0.0.0' }] }, /prevResult\.routes\[0\]\.dst/],
  ['with a negative index', { ips: [{ address: '10.0.0.7/24', interface: -1 }] }, /prevResult\.ips\[0\]\.interface/],
  [
    'with an index that is text',
    { ips: [{ address: '10.0.0.7/24', interface: '0' }] },
    /prevResult\.ips\[0\]\.interface/,
  ],
  ['of a version that nobody knows', { cniVersion: '9.9.9' }, /incompatible CNI versions/],
  ['whose address is missing', { ips: [{}] }, /Missing key "prevResult\.ips\[0\]\.address"/],
];
for (const [what, value, wanted] of reading) {
  test(`a result ${what} is ${wanted instanceof RegExp ? 'refused' : 'read'}`, () => {
    const call = () => printResult(readResult(value, 'prevResult', '1.0.0').result, '1.0.0');
    if (wanted instanceof RegExp)
      assert.throws(call, (error: unknown) => error instanceof CniError && wanted.test(error.message));
    else assert.deepEqual(call(), wanted);
  });
}

const address = fc.oneof(
  fc.record({ family: fc.constant(4 as const), value: fc.bigInt(0n, 0xffffffffn) }),
  fc.record({ family: fc.constant(6 as const), value: fc.bigInt(0n, (1n << 128n) - 1n) }),
);
const prefix = address.chain(own =>
  fc.integer({ min: 0, max: own.family === 4 ? 32 : 128 }).map(length => ({ ...own, length })),
);
const number = fc.integer({ min: 0, max: 0xffffffff });
const optionalKeys = { requiredKeys: [] };
const word = fc.string({ minLength: 1 });
const route: fc.Arbitrary<ResultRoute> = fc.record(
  {
    dst: prefix,
    gw: address,
    mtu: number,
    advmss: number,
    priority: number,
    table: number,
    scope: fc.integer({ min: 0, max: 255 }),
  },
  { requiredKeys: ['dst'] },
);
const anyResult: fc.Arbitrary<Result> = fc.record(
  {
    interfaces: fc.array(
      fc.record(
        { name: word, mac: word, sandbox: word, mtu: number, socketPath: word, pciID: word },
        { requiredKeys: ['name'] },
      ),
    ),
    ips: fc.array(
      fc.record({ address: prefix, gateway: address, interface: fc.nat(9) }, { requiredKeys: ['address'] }),
    ),
    routes: fc.array(route),
    dns: fc
      .record(
        { nameservers: fc.array(word, { minLength: 1 }), domain: word, search: fc.array(word, { minLength: 1 }) },
        optionalKeys,
      )
      .filter(found => Object.keys(found).length > 0),
  },
  { requiredKeys: ['interfaces', 'ips', 'routes'] },
);
/** By way of JSON text, as between two plugins. fast-check's records have no prototype. */
const travel = (value: object): unknown => JSON.parse(JSON.stringify(value));

test('1.1.0 loses nothing', () => {
  fc.assert(
    fc.property(anyResult, before => {
      const after = readResult(travel(printResult(before, '1.1.0')), 'x', '1.1.0').result;
      assert.deepEqual(travel(printResult(after, '1.1.0')), travel(printResult(before, '1.1.0')));
      assert.deepEqual(
        after.ips.map(ip => ip.address.value),
        before.ips.map(ip => ip.address.value),
      );
      assert.deepEqual(
        after.routes.map(({ scope }) => scope),
        before.routes.map(({ scope }) => scope),
      );
      assert.deepEqual(
        after.interfaces.map(({ pciID }) => pciID),
        before.interfaces.map(({ pciID }) => pciID),
      );
    }),
  );
});

test('down to any version and on to any older one is the same as down at once', () => {
  const pair = fc.tuple(fc.constantFrom(...supportedVersions), fc.constantFrom(...supportedVersions));
  const withAddress = anyResult.filter(({ ips }) => ips.length > 0);
  fc.assert(
    fc.property(withAddress, pair, (before, versions) => {
      const [older, newer] = versions.toSorted() as [CniVersion, CniVersion];
      const between = readResult(travel(printResult(before, newer)), 'x', '1.1.0').result;
      // From 0.2.0 on all addresses but the first of a family are gone, and 0.1.0 is of the same shape.
      assert.deepEqual(travel(printResult(between, older)), travel(printResult(before, older)));
    }),
  );
});

test('up from any version and down again changes nothing', () => {
  const withAddress = anyResult.filter(({ ips }) => ips.length > 0);
  fc.assert(
    fc.property(withAddress, fc.constantFrom(...supportedVersions), (before, version) => {
      const printed = travel(printResult(before, version));
      const up = readResult(
        travel(printResult(readResult(printed, 'x', version).result, '1.1.0')),
        'x',
        version,
      ).result;
      assert.deepEqual(travel(printResult(up, version)), printed);
    }),
  );
});
