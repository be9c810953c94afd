import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { parseArgs } from '../../../lib/cni/args.ts';
import { CniError } from '../../../lib/cni/error.ts';
import {
  type Environment,
  errorVersion,
  parseEnvironment,
  parseRequest,
  type Verb,
  verbs,
} from '../../../lib/cni/request.ts';
import { aboutText, type CniVersion, supportedVersions, versionResult } from '../../../lib/cni/version.ts';
import { anyText } from '../../support/any-text.ts';

const full = {
  CNI_CONTAINERID: 'c1',
  CNI_NETNS: '/run/netns/c1',
  CNI_IFNAME: 'eth0',
  CNI_PATH: '/opt/cni/bin:/usr/lib/cni',
};
const config = JSON.stringify({ cniVersion: '1.1.0', name: 'net', type: 'tollgate' });

const failure = (code: number, message: RegExp) => (error: unknown) => {
  assert.ok(error instanceof CniError, `${error}`);
  assert.equal(error.code, code, error.message);
  assert.match(`${error.message} ${error.details ?? ''}`, message);
  return true;
};

const unread = () => {
  throw new Error('stdin was read');
};

/** Which variables each verb must have (spec section 2, skel), by the names that one error lists. */
const requiredRows: readonly (readonly [Verb, readonly string[]])[] = [
  ['ADD', ['CNI_CONTAINERID', 'CNI_NETNS', 'CNI_IFNAME', 'CNI_PATH']],
  ['CHECK', ['CNI_CONTAINERID', 'CNI_NETNS', 'CNI_IFNAME', 'CNI_PATH']],
  ['DEL', ['CNI_CONTAINERID', 'CNI_IFNAME', 'CNI_PATH']],
  ['GC', ['CNI_PATH']],
  ['STATUS', ['CNI_PATH']],
  ['VERSION', []],
];

for (const [verb, required] of requiredRows) {
  test(`${verb} without any variable names all that it needs in one error, and reads no stdin`, () => {
    const call = () => parseRequest({ CNI_COMMAND: verb }, unread);
    if (required.length === 0) assert.equal(call().verb, verb);
    else assert.throws(call, failure(4, new RegExp(`^required env variables \\[${required.join(',')}\\] missing `)));
  });
  for (const name of Object.keys(full)) {
    const isRequired = required.includes(name);
    test(`${verb} ${isRequired ? 'needs' : 'does without'} ${name}, and an empty value is a missing one`, () => {
      for (const value of ['', undefined]) {
        const call = () => parseEnvironment({ ...full, CNI_COMMAND: verb, [name]: value });
        if (isRequired) assert.throws(call, failure(4, new RegExp(`^required env variables \\[${name}\\] missing`)));
        else assert.equal(call().verb, verb);
      }
    });
  }
}

test('every verb has a row', () => {
  assert.deepEqual(requiredRows.map(([verb]) => verb).sort(), [...verbs].sort());
  assert.deepEqual([...verbs].sort(), ['ADD', 'CHECK', 'DEL', 'GC', 'STATUS', 'VERSION']);
});

for (const verb of ['NOPE', 'add', 'ADD ', 'about', 'constructor', '__proto__']) {
  test(`the verb ${JSON.stringify(verb)} is unknown: code 4 before stdin is read`, () => {
    assert.throws(() => parseRequest({ ...full, CNI_COMMAND: verb }, unread), failure(4, /^unknown CNI_COMMAND: /));
  });
}

for (const env of [{}, { CNI_COMMAND: '' }, { ...full, CNI_COMMAND: '' }]) {
  test(`an empty CNI_COMMAND asks for the about text (${Object.keys(env).length} variables)`, () => {
    assert.deepEqual(parseRequest(env, unread), { verb: 'about' });
  });
}

test('the about text names the protocol versions', () => {
  assert.equal(
    aboutText('tollgate', '1.2.3'),
    'CNI tollgate plugin v1.2.3\nCNI protocol versions supported: 0.1.0, 0.2.0, 0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0\n',
  );
});

test('VERSION does not read stdin, ignores dummies, and lists every version', () => {
  const dummies = { CNI_NETNS: 'dummy', CNI_IFNAME: 'dummy', CNI_PATH: 'dummy' };
  assert.deepEqual(parseRequest({ ...dummies, CNI_COMMAND: 'VERSION' }, unread), { verb: 'VERSION' });
  assert.deepEqual(versionResult(), { cniVersion: '1.1.0', supportedVersions });
});

const containerIDs: readonly (readonly [string, boolean])[] = [
  ['a', true],
  ['3f2a'.repeat(16), true],
  ['a'.repeat(300), true],
  ['cnitool-77383ca0a0715733ca6f', true],
  ['A_b.c-d', true],
  ['../etc', false],
  ['.hidden', false],
  ['-rf', false],
  ['_a', false],
  ['a/b', false],
  ['a b', false],
  ['a\n', false],
  ['a%d', false],
  ['a;b', false],
  ['ä', false],
  ['a\0b', false],
];
for (const [containerID, isGood] of containerIDs) {
  test(`containerID ${JSON.stringify(containerID.slice(0, 40))} of ${containerID.length} is ${isGood ? 'carried' : 'code 4'}`, () => {
    const call = () => parseEnvironment({ ...full, CNI_COMMAND: 'DEL', CNI_CONTAINERID: containerID });
    if (isGood) assert.equal((call() as { containerID: string }).containerID, containerID);
    else assert.throws(call, failure(4, /^invalid characters in containerID CNI_CONTAINERID is /));
  });
}

const ifnames: readonly (readonly [string, RegExp | undefined])[] = [
  ['e', undefined],
  ['eth0', undefined],
  ['123456789012345', undefined],
  ['...', undefined],
  ['a;`$(x)`', undefined],
  ['1234567890123456', /too long/],
  ['ééééééé', undefined],
  ['éééééééé', /too long/],
  ['.', /\. or \.\./],
  ['..', /\. or \.\./],
  ['a/b', /contains \//],
  ['a:b', /or :/],
  ['a%d', /or %/],
  ['a b', /whitespace/],
  ['a\tb', /whitespace/],
  ['a\vb', /whitespace/],
  ['a\u0085b', /whitespace/],
  ['à', /whitespace/],
];
for (const [ifname, problem] of ifnames) {
  test(`interface name ${JSON.stringify(ifname)} is ${problem ? `code 4 (${problem.source})` : 'carried'}`, () => {
    for (const verb of ['ADD', 'CHECK', 'DEL']) {
      const call = () => parseEnvironment({ ...full, CNI_COMMAND: verb, CNI_IFNAME: ifname });
      if (problem) assert.throws(call, failure(4, problem));
      else assert.equal((call() as { ifname: string }).ifname, ifname);
    }
  });
}

test('GC and STATUS look at no container, even at one that could not be', () => {
  for (const verb of ['GC', 'STATUS']) {
    const env = { CNI_COMMAND: verb, CNI_PATH: '/x', CNI_CONTAINERID: '../', CNI_IFNAME: '%', CNI_ARGS: 'junk' };
    assert.deepEqual(parseEnvironment(env), { verb, path: ['/x'], warnings: [] });
  }
});

test('the path is split at colons, and an empty element is not the working directory', () => {
  const call = parseEnvironment({ ...full, CNI_COMMAND: 'GC', CNI_PATH: ':/a::/b c:' });
  assert.deepEqual(call, { verb: 'GC', path: ['/a', '/b c'], warnings: [] });
});

const overrides: readonly (readonly [string | undefined, boolean])[] = [
  ['TRUE', true],
  ['true', true],
  ['1', true],
  ['0', false],
  ['yes', false],
  ['', false],
  [undefined, false],
];
for (const [value, wanted] of overrides) {
  test(`CNI_NETNS_OVERRIDE=${value} ${wanted ? 'allows' : 'does not allow'} our own network namespace`, () => {
    const call = parseEnvironment({ ...full, CNI_COMMAND: 'ADD', CNI_NETNS_OVERRIDE: value });
    assert.equal((call as { netnsOverride: boolean }).netnsOverride, wanted);
  });
}

test('stdin that cannot be read is code 5', () => {
  assert.throws(() => parseRequest({ ...full, CNI_COMMAND: 'ADD' }, unread), failure(5, /stdin was read/));
});

for (const stdin of ['', '{', 'null', '[]', '"x"', '7', '{} {}', '\ufeff{}']) {
  test(`stdin ${JSON.stringify(stdin)} is code 6 on every verb that has a config`, () => {
    for (const verb of verbs.filter(verb => verb !== 'VERSION'))
      assert.throws(() => parseRequest({ ...full, CNI_COMMAND: verb }, () => stdin), failure(6, /decode/));
  });
}

/** The first version whose configs may ask for the verb; every older one is code 1. */
const gates: readonly (readonly [Verb, CniVersion])[] = [
  ['ADD', '0.1.0'],
  ['DEL', '0.1.0'],
  ['CHECK', '0.4.0'],
  ['GC', '1.1.0'],
  ['STATUS', '1.1.0'],
];
for (const [verb, least] of gates) {
  for (const cniVersion of supportedVersions) {
    const isAllowed = supportedVersions.indexOf(cniVersion) >= supportedVersions.indexOf(least);
    test(`a config of ${cniVersion} ${isAllowed ? 'allows' : 'does not allow'} ${verb}`, () => {
      const prevResult = { cniVersion, ips: [] };
      const stdin = JSON.stringify({ cniVersion, name: 'net', ...(verb === 'CHECK' ? { prevResult } : {}) });
      const call = () => parseRequest({ ...full, CNI_COMMAND: verb }, () => stdin);
      if (isAllowed) assert.equal(call().verb, verb);
      else assert.throws(call, failure(1, new RegExp(`^config version does not allow ${verb}`)));
    });
  }
}
test('every verb but VERSION, which has no config, has a gate row', () => {
  assert.deepEqual([...gates.map(([verb]) => verb), 'VERSION'].sort(), [...verbs].sort());
});

test('CHECK without prevResult is code 7', () => {
  const call = () => parseRequest({ ...full, CNI_COMMAND: 'CHECK' }, () => config);
  assert.throws(call, failure(7, /CHECK needs the key "prevResult"/));
});

test('DEL has no netns where the runtime has none', () => {
  const request = parseRequest({ ...full, CNI_COMMAND: 'DEL', CNI_NETNS: '' }, () => config);
  assert.equal(request.verb === 'DEL' && request.netns, '');
});

const errorVersions: readonly (readonly [string | undefined, string])[] = [
  [undefined, '1.1.0'],
  ['', '1.1.0'],
  ['[]', '1.1.0'],
  ['{}', '0.1.0'],
  ['{"cniVersion":""}', '0.1.0'],
  ['{"CNIVersion":"0.4.0"}', '0.4.0'],
  ['{"cniVersion":"9.9.9"}', '1.1.0'],
  ['{"cniVersion":7}', '1.1.0'],
];
for (const [stdin, version] of errorVersions) {
  test(`an error about stdin ${stdin} is said in version ${version}`, () => assert.equal(errorVersion(stdin), version));
}

const kubernetes =
  'IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-0;K8S_POD_UID=u-1;K8S_POD_INFRA_CONTAINER_ID=c1';
const argsRows: readonly (readonly [string, string, object | RegExp])[] = [
  ['nothing', '', { ips: [] }],
  [
    'the five keys of Kubernetes',
    kubernetes,
    { ips: [], podNamespace: 'shop', podName: 'web-0', podUid: 'u-1', infraContainerID: 'c1' },
  ],
  [
    'the same in another order, without UID',
    'K8S_POD_NAME=web-0;IgnoreUnknown=1;K8S_POD_NAMESPACE=shop',
    { ips: [], podNamespace: 'shop', podName: 'web-0' },
  ],
  ['empty values, which say nothing', 'K8S_POD_NAME=;IP=;MAC=', { ips: [] }],
  ['an address', 'IP=10.0.0.7', { ips: [{ family: 4, value: 0x0a000007n }] }],
  [
    'two addresses, one with a length',
    'IP=10.0.0.7/24, fd00::7',
    {
      ips: [
        { family: 4, value: 0x0a000007n, length: 24 },
        { family: 6, value: (0xfdn << 120n) + 7n },
      ],
    },
  ],
  ['a hardware address in any form', 'MAC=02-AB-00-00-00-01', { ips: [], mac: '02:ab:00:00:00:01' }],
  ['a key twice: the later one', 'K8S_POD_NAME=a;K8S_POD_NAME=b', { ips: [], podName: 'b' }],
  ['IgnoreUnknown=TRUE', 'FOO=1;IgnoreUnknown=TRUE', { ips: [] }],
  ['IgnoreUnknown=true before an unknown key', 'IgnoreUnknown=true;constructor=1', { ips: [] }],
  [
    "podman's container name, in both",
    'IgnoreUnknown=1;K8S_POD_NAMESPACE=My_web.1;K8S_POD_NAME=My_web.1',
    { ips: [], podNamespace: 'My_web.1', podName: 'My_web.1' },
  ],
  [
    'a container name from Kubernetes, as the namespace',
    'K8S_POD_NAMESPACE=My_web;K8S_POD_NAME=web;K8S_POD_UID=u-1',
    /K8S_POD_NAMESPACE=My_web is no name: expected a DNS label/,
  ],
  [
    'a container name from Kubernetes, as the pod',
    'K8S_POD_NAMESPACE=shop;K8S_POD_NAME=My_web;K8S_POD_UID=u-1',
    /K8S_POD_NAME=My_web is no name: expected a DNS name/,
  ],
  [
    'a namespace with dots from Kubernetes',
    'K8S_POD_NAMESPACE=a.b;K8S_POD_NAME=a.b;K8S_POD_UID=u-1',
    /K8S_POD_NAMESPACE=a\.b is no name/,
  ],
  ['a path and a format for a name', 'K8S_POD_NAME=../%d$(x)', /K8S_POD_NAME=\.\.\/%d\$\(x\) is no name/],
  ['a line feed in a name', 'K8S_POD_NAME=a\nb', /K8S_POD_NAME=a\\u000ab is no name/],
  ['an escape sequence in a namespace', 'K8S_POD_NAMESPACE=\x1b[2Ja', /K8S_POD_NAMESPACE=\\u001b\[2Ja is no name/],
  ['a line feed in a uid', 'K8S_POD_UID=u\n1', /K8S_POD_UID=u\\u000a1 is no name/],
  ['an unknown key', 'FOO=1', /CNI_ARGS: unknown args \["FOO=1"\]/],
  ['all unknown keys at once', 'FOO=1;BAR=2', /\["FOO=1","BAR=2"\]/],
  ['an unknown key with IgnoreUnknown=0', 'FOO=1;IgnoreUnknown=0', /unknown args/],
  ['a known key in another case', 'ip=10.0.0.7', /unknown args/],
  ['IgnoreUnknown=yes', 'IgnoreUnknown=yes', /IgnoreUnknown=yes is none of/],
  ['a pair without =', 'IgnoreUnknown=1;FOO', /invalid pair "FOO"/],
  ['a pair with two =', 'IgnoreUnknown=1;A=b=c', /invalid pair "A=b=c"/],
  ['an empty pair', 'IgnoreUnknown=1;', /invalid pair ""/],
  ['an empty key', 'IgnoreUnknown=1;=x', /invalid pair "=x"/],
  ['an address that is none', 'IP=10.0.0.256', /IP=10\.0\.0\.256 is not an address/],
  ['a group hardware address', 'MAC=01:00:00:00:00:01', /MAC=01:00:00:00:00:01 is not a unicast/],
];
for (const [what, text, wanted] of argsRows) {
  test(`CNI_ARGS with ${what} ${wanted instanceof RegExp ? 'is code 4' : 'is read'}`, () => {
    if (wanted instanceof RegExp) assert.throws(() => parseArgs(text), failure(4, wanted));
    else assert.deepEqual(parseArgs(text), wanted);
  });
}

test('CNI_ARGS that nobody can read do not keep a pod from being deleted', () => {
  const env: Environment = { ...full, CNI_COMMAND: 'DEL', CNI_ARGS: 'A=b=c' };
  const request = parseRequest(env, () => config);
  assert.ok(request.verb === 'DEL');
  assert.deepEqual(request.args, { ips: [] });
  assert.match(request.warnings.join(), /invalid pair "A=b=c".*ignored on DEL/);
  for (const verb of ['ADD', 'CHECK'])
    assert.throws(() => parseRequest({ ...env, CNI_COMMAND: verb }, unread), failure(4, /invalid pair/));
});

test('any text in CNI_ARGS is read or refused with code 4, and what is read is what was written', () => {
  const value = anyText().filter(text => !/[;=]/.test(text));
  const container = fc.stringMatching(/^([A-Za-z0-9][A-Za-z0-9_.-]*)?$/);
  fc.assert(
    fc.property(value, text => {
      try {
        parseArgs(`IgnoreUnknown=1;K8S_POD_NAMESPACE=${text};K8S_POD_NAME=${text};x=${text}`);
      } catch (error) {
        failure(4, /^CNI_ARGS: /)(error);
      }
    }),
  );
  fc.assert(
    fc.property(container, container, value, (namespace, name, x) => {
      const args = parseArgs(`K8S_POD_NAMESPACE=${namespace};IgnoreUnknown=1;K8S_POD_NAME=${name};x=${x}`);
      assert.equal(args.podNamespace ?? '', namespace);
      assert.equal(args.podName ?? '', name);
    }),
  );
  fc.assert(
    fc.property(fc.string(), text => {
      try {
        parseArgs(text);
      } catch (error) {
        failure(4, /^CNI_ARGS: /)(error);
      }
    }),
  );
});
