import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Config, parseConfig } from '../../../lib/cni/config.ts';
import { CniError } from '../../../lib/cni/error.ts';
import { type AttachmentRequest, parseRequest, requestedIps, requestedMac } from '../../../lib/cni/request.ts';
import { formatAddress, formatPrefix } from '../../../lib/ip/address.ts';

const read = (extra: object): Config =>
  parseConfig(JSON.stringify({ cniVersion: '1.1.0', name: 'net', ...extra }), 'ADD');

const failure = (message: RegExp) => (error: unknown) => {
  assert.ok(error instanceof CniError, `${error}`);
  assert.equal(error.code, 7, error.message);
  assert.match(error.message, message);
  return true;
};

const mapping = (hostPort: number, containerPort: number, protocol = 'tcp') => ({ hostPort, containerPort, protocol });
const portRows: readonly (readonly [string, unknown, readonly object[] | RegExp])[] = [
  [
    'containerd’s capitalised keys',
    [{ HostPort: 80, ContainerPort: 8080, Protocol: 'tcp', HostIP: '' }],
    [mapping(80, 8080)],
  ],
  ['lower-case keys', [mapping(53, 5353, 'udp')], [mapping(53, 5353, 'udp')]],
  ['a protocol in capitals', [mapping(1, 2, 'SCTP')], [mapping(1, 2, 'sctp')]],
  ['no protocol', [{ hostPort: 1, containerPort: 2 }], [mapping(1, 2)]],
  ['an empty protocol', [mapping(1, 2, '')], [mapping(1, 2)]],
  [
    'a host address of each family',
    [
      { ...mapping(1, 2), hostIP: '10.0.0.1' },
      { ...mapping(1, 2), hostIP: 'fd00::1' },
    ],
    [
      { ...mapping(1, 2), hostIP: { family: 4, value: 0x0a000001n } },
      { ...mapping(1, 2), hostIP: { family: 6, value: (0xfdn << 120n) + 1n } },
    ],
  ],
  ['the same mapping twice', [mapping(1, 2), mapping(1, 2)], [mapping(1, 2)]],
  ['one port for two protocols', [mapping(1, 2), mapping(1, 3, 'udp')], [mapping(1, 2), mapping(1, 3, 'udp')]],
  ['null', null, []],
  ['a null in the list', [null], []],
  ['one host port for two targets', [mapping(1, 2), mapping(1, 3)], /hostPort 1\/tcp.*expected 2, as mapped before/],
  [
    'one host port for two targets, one of them on every IPv4 address',
    [mapping(1, 2), { ...mapping(1, 3), hostIP: '0.0.0.0' }],
    /hostPort 1\/tcp.*expected 2, as mapped before/,
  ],
  ['host port 0', [mapping(0, 2)], /portMappings\[0\]\.hostPort.*1 to 65535/],
  ['container port 65536', [mapping(1, 65536)], /containerPort.*1 to 65535/],
  ['a port that is text', [{ hostPort: '80', containerPort: 80 }], /hostPort.*1 to 65535/],
  ['no container port', [{ hostPort: 80 }], /Missing key "runtimeConfig\.portMappings\[0\]\.containerPort"/],
  ['protocol icmp', [mapping(1, 2, 'icmp')], /"icmp".*"tcp", "udp" or "sctp"/],
  ['a host address that is none', [{ ...mapping(1, 2), hostIP: 'localhost' }], /hostIP.*an IPv4 or IPv6 address/],
  ['an object for a list', {}, /portMappings": expected a list/],
];
for (const [what, portMappings, wanted] of portRows) {
  test(`portMappings with ${what} ${wanted instanceof RegExp ? 'are code 7' : 'are read'}`, () => {
    const call = () => read({ runtimeConfig: { portMappings } }).runtime.portMappings;
    if (wanted instanceof RegExp) assert.throws(call, failure(wanted));
    else assert.deepEqual(call(), wanted);
  });
}

const subnets = (config: Config) => config.runtime.rangeSets.map(set => set.map(({ subnet }) => formatPrefix(subnet)));
const rangeRows: readonly (readonly [string, unknown, readonly (readonly string[])[] | RegExp])[] = [
  [
    'a list of lists',
    [[{ subnet: '10.0.0.0/24' }, { subnet: '10.0.1.0/24' }], [{ subnet: 'fd00::/64' }]],
    [['10.0.0.0/24', '10.0.1.0/24'], ['fd00::/64']],
  ],
  ['containerd’s single list', [{ Subnet: '10.0.0.0/24' }], [['10.0.0.0/24']]],
  [
    'a single list of both families, which gives one address of each',
    [{ Subnet: 'fd00::/64' }, { Subnet: '10.0.0.0/24', RangeStart: '', Gateway: '' }, { Subnet: '10.0.1.0/24' }],
    [['10.0.0.0/24', '10.0.1.0/24'], ['fd00::/64']],
  ],
  ['null', null, []],
  ['an empty set', [[]], []],
  ['a range without subnet', [[{ rangeStart: '10.0.0.1' }]], /Missing key "runtimeConfig\.ipRanges\[0\]\[0\]\.subnet"/],
  ['a subnet without length', [[{ subnet: '10.0.0.0' }]], /ipRanges\[0\]\[0\]\.subnet.*expected a prefix/],
];
for (const [what, ipRanges, wanted] of rangeRows) {
  test(`ipRanges as ${what} ${wanted instanceof RegExp ? 'is code 7' : 'is read'}`, () => {
    const call = () => subnets(read({ runtimeConfig: { ipRanges } }));
    if (wanted instanceof RegExp) assert.throws(call, failure(wanted));
    else assert.deepEqual(call(), wanted);
  });
}

test('runtimeConfig.dns has names of its own, and null in it is absent', () => {
  const dns = (value: object) => read({ runtimeConfig: { dns: value } }).runtime.dns;
  assert.deepEqual(dns({ Servers: ['10.0.0.10'], Searches: ['svc'], Options: ['ndots:5'] }), {
    nameservers: ['10.0.0.10'],
    search: ['svc'],
    options: ['ndots:5'],
  });
  assert.equal(dns({ Servers: null, Searches: null, Options: null }), undefined);
  assert.throws(() => dns({ servers: '10.0.0.10' }), failure(/runtimeConfig\.dns\.servers.*a list/));
});

test('a dns section in the config is told from none, and an empty list from saying nothing', () => {
  assert.equal(read({}).dns, undefined);
  assert.equal(read({ dns: {} }).dns, undefined);
  assert.deepEqual(read({ dns: { nameservers: [] } }).dns, { nameservers: [] });
  assert.deepEqual(read({ dns: { domain: 'x', search: ['y'] } }).dns, { domain: 'x', search: ['y'] });
});

const macs: readonly (readonly [string, string | undefined | RegExp])[] = [
  ['02:00:00:00:00:0A', '02:00:00:00:00:0a'],
  ['02-00-00-00-00-0a', '02:00:00:00:00:0a'],
  ['', undefined],
  ['02:00-00:00:00:0a', /mac/],
  ['02:00:00:00:00', /mac/],
  ['01:00:5e:00:00:01', /unicast/],
  ['00:00:00:00:00:00', /unicast/],
  ['ff:ff:ff:ff:ff:ff', /unicast/],
  ['02:00:00:00:00:0g', /mac/],
];
for (const [mac, wanted] of macs) {
  test(`runtimeConfig.mac "${mac}" ${wanted instanceof RegExp ? 'is code 7' : `is ${wanted}`}`, () => {
    const call = () => read({ runtimeConfig: { mac } }).runtime.mac;
    if (wanted instanceof RegExp) assert.throws(call, failure(wanted));
    else assert.equal(call(), wanted);
  });
}

test('bandwidth and what else runtimes send is left alone', () => {
  const runtimeConfig = {
    bandwidth: { IngressRate: 1, IngressBurst: 4294967295 },
    cgroupPath: '/kubepods',
    aliases: ['a'],
    deviceID: 7,
    infinibandGUID: [],
    'io.kubernetes.cri.pod-annotations': null,
  };
  assert.deepEqual(read({ runtimeConfig }).runtime, read({}).runtime);
});

const prevResult = { cniVersion: '1.1.0', ips: [] };
const unheeded: readonly (readonly [string, object, readonly string[]])[] = [
  ['a bandwidth', { runtimeConfig: { bandwidth: { ingressRate: 1 } } }, ['bandwidth']],
  ['nothing of it', { runtimeConfig: { bandwidth: null, ips: ['10.0.0.7'], mac: '02:00:00:00:00:01' } }, []],
  [
    'address and MAC where another plugin made the interface',
    { prevResult, runtimeConfig: { ips: ['10.0.0.7'], MAC: '02:00:00:00:00:01', ipRanges: [], portMappings: [] } },
    ['ips', 'mac'],
  ],
  ['none of them there', { prevResult, runtimeConfig: { ips: [], mac: '', labels: { a: 'b' } } }, []],
];
for (const [what, config, keys] of unheeded)
  test(`a runtime that asks for ${what} is warned of ${keys.length === 0 ? 'nothing' : keys.join(' and ')}`, () => {
    const named = read(config).warnings.map(
      line => /^"runtimeConfig\.(\w+)" is ignored: give the capability/.exec(line)?.[1],
    );
    assert.deepEqual(named, keys);
  });

const labelRows: readonly (readonly [string, object, readonly (readonly string[])[] | RegExp])[] = [
  [
    'args.cni.labels',
    { args: { cni: { labels: [{ key: 'a', value: 'b' }, { key: 'c' }] } } },
    [
      ['a', 'b'],
      ['c', ''],
    ],
  ],
  [
    'a key twice',
    {
      args: {
        cni: {
          labels: [
            { key: 'a', value: '1' },
            { key: 'a', value: '2' },
          ],
        },
      },
    },
    [['a', '2']],
  ],
  ['a map for the list', { args: { cni: { labels: { a: 'b' } } } }, /args\.cni\.labels.*a list/],
  ['no key', { args: { cni: { labels: [{ value: 'b' }] } } }, /Missing key "args\.cni\.labels\[0\]\.key"/],
];
for (const [what, extra, wanted] of labelRows) {
  test(`labels by args.cni: ${what} ${wanted instanceof RegExp ? 'is code 7' : 'is read'}`, () => {
    const call = () => [...read(extra).argsCni.labels];
    if (wanted instanceof RegExp) assert.throws(call, failure(wanted));
    else assert.deepEqual(call(), wanted);
  });
}

const request = (args: string, extra: object): AttachmentRequest => {
  const env = {
    CNI_COMMAND: 'ADD',
    CNI_CONTAINERID: 'c',
    CNI_NETNS: '/n',
    CNI_IFNAME: 'e',
    CNI_PATH: '/p',
    CNI_ARGS: args,
  };
  const found = parseRequest(env, () => JSON.stringify({ name: 'net', ...extra }));
  assert.ok(found.verb === 'ADD');
  return found;
};

test('a hardware address by CNI_ARGS gives way to args.cni, and that to runtimeConfig', () => {
  const args = { args: { cni: { mac: '02:00:00:00:00:02' } } };
  const runtimeConfig = { mac: '02:00:00:00:00:03' };
  assert.equal(requestedMac(request('', {})), undefined);
  assert.equal(requestedMac(request('MAC=02:00:00:00:00:01', {})), '02:00:00:00:00:01');
  assert.equal(requestedMac(request('MAC=02:00:00:00:00:01', args)), '02:00:00:00:00:02');
  assert.equal(requestedMac(request('MAC=02:00:00:00:00:01', { ...args, runtimeConfig })), '02:00:00:00:00:03');
});

test('addresses asked for in three ways are all asked for, each once, with its length where one says it', () => {
  const found = requestedIps(
    request('IP=10.0.0.7', {
      args: { cni: { ips: ['10.0.0.8/24', '10.0.0.7/24'] } },
      runtimeConfig: { ips: ['fd00::7', '10.0.0.8'] },
    }),
  );
  const text = found.map(ip => formatAddress(ip) + (ip.length === undefined ? '' : `/${ip.length}`));
  assert.deepEqual(text, ['10.0.0.7/24', '10.0.0.8/24', 'fd00::7']);
});

test('an address asked for that is none is code 7', () => {
  assert.throws(() => read({ runtimeConfig: { ips: ['10.0.0.7/33'] } }), failure(/runtimeConfig\.ips\[0\]/));
  assert.throws(() => read({ args: { cni: { ips: ['x'] } } }), failure(/args\.cni\.ips\[0\]/));
});

test('our own ipam section is read in host-local’s words: the old-style subnet, then the ranges', () => {
  const ipam = {
    type: 'tollgate-ipam',
    subnet: '10.0.0.0/24',
    rangeStart: '10.0.0.5',
    gateway: '10.0.0.254',
    ranges: [[{ subnet: 'fd00::/64' }]],
    routes: [{ dst: '0.0.0.0/0' }, { dst: '10.9.0.0/16', gw: '10.0.0.1', mtu: 1400 }],
    resolvConf: '/etc/resolv.conf',
    dataDir: '/var/lib/x',
  };
  const found = read({ ipam }).ipam;
  assert.deepEqual(found?.raw, ipam);
  assert.deepEqual(
    found?.rangeSets.map(set => set.map(({ subnet }) => formatPrefix(subnet))),
    [['10.0.0.0/24'], ['fd00::/64']],
  );
  assert.equal(formatAddress(found!.rangeSets[0]![0]!.rangeStart!), '10.0.0.5');
  assert.equal(found!.rangeSets[0]![0]!.rangeEnd, undefined);
  assert.equal(formatAddress(found!.rangeSets[0]![0]!.gateway!), '10.0.0.254');
  assert.deepEqual(found?.routes[1], {
    dst: { family: 4, value: 0x0a090000n, length: 16 },
    gw: { family: 4, value: 0x0a000001n },
    mtu: 1400,
  });
  assert.deepEqual([found?.resolvConf, found?.dataDir], ['/etc/resolv.conf', '/var/lib/x']);
});

test('a route of ours by a gateway of the other family is code 7: the kernel would take its first bytes for one', () => {
  const routed = (dst: string, gw: string) => () =>
    read({ ipam: { type: 'tollgate-ipam', subnet: '10.0.0.0/24', routes: [{ dst, gw }] } });
  assert.throws(
    routed('0.0.0.0/0', 'fd00::1'),
    failure(/"fd00::1" for "ipam\.routes\[0\]\.gw": expected an IPv4 address/),
  );
  assert.throws(routed('::/0', '10.0.0.1'), failure(/"ipam\.routes\[0\]\.gw": expected an IPv6 address/));
});

test('an empty ipam section is none, one with content needs a type', () => {
  for (const ipam of [undefined, null, {}]) assert.equal(read({ ipam }).ipam, undefined);
  for (const type of [undefined, null, '']) {
    assert.throws(() => read({ ipam: { type, subnet: '10.0.0.0/24' } }), failure(/Missing key "ipam\.type"/));
  }
  assert.throws(() => read({ ipam: { type: 7 } }), failure(/ipam\.type/));
});

test('a delegate’s ipam section is not ours to judge', () => {
  const ipam = { type: 'dhcp', ranges: 'none', routes: 7, daemonSocketPath: '/x' };
  assert.deepEqual(read({ ipam }).ipam, { type: 'dhcp', raw: ipam, rangeSets: [], routes: [] });
});
