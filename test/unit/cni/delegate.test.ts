import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  checkDelegateExit,
  type DelegateCall,
  type DelegateExit,
  delegateCandidates,
  delegateEnvironment,
  delegateMissing,
  readIpamResult,
} from '../../../lib/cni/delegate.ts';
import { CniError, codes } from '../../../lib/cni/error.ts';
import { printResult } from '../../../lib/cni/result.ts';

const call: DelegateCall = { type: 'host-local', verb: 'ADD', cniVersion: '1.0.0' };
const exit = (exitCode: number | null, stdout: string, stderr = ''): DelegateExit => ({ exitCode, stdout, stderr });

const caught = (run: () => unknown): CniError => {
  try {
    run();
  } catch (error) {
    assert.ok(error instanceof CniError, `${error}`);
    return error;
  }
  throw new assert.AssertionError({ message: 'nothing was thrown' });
};

for (const type of ['', '.', '..', '/bin/sh', '../host-local', 'a/b', 'a\0b', 'tollgate']) {
  test(`ipam.type ${JSON.stringify(type)} is never run: code 7`, () => {
    assert.equal(caught(() => delegateCandidates(type, ['/opt/cni/bin'])).code, 7);
  });
}

test('a delegate is looked for in each folder of CNI_PATH, in order, by its plain name', () => {
  assert.deepEqual(delegateCandidates('host-local', ['/a', '/b c']), ['/a/host-local', '/b c/host-local']);
  assert.deepEqual(delegateCandidates('$(x)', ['/a']), ['/a/$(x)']);
});

test('a delegate that is nowhere is an error that names it and the path', () => {
  const error = delegateMissing('dhcp', ['/a', '/b']);
  assert.equal(error.code, codes.delegateFailed);
  assert.match(`${error.message} ${error.details}`, /"dhcp".*\/a:\/b/);
});

test('a delegate gets the whole environment, with another verb where an ADD is undone', () => {
  const env = { CNI_COMMAND: 'ADD', CNI_ARGS: 'A=b', TRACEPARENT: 't', PATH: '/bin' };
  assert.deepEqual(delegateEnvironment(env, 'DEL'), { ...env, CNI_COMMAND: 'DEL' });
  assert.equal(env.CNI_COMMAND, 'ADD');
});

/** stdout of a delegate that exits 0 on ADD, and what becomes of it in 1.0.0. */
const ips = [{ address: '10.0.0.7/24', gateway: '10.0.0.1' }];
const routes = [{ dst: '0.0.0.0/0' }];
const good: readonly (readonly [string, object])[] = [
  ['of the config’s version', { cniVersion: '1.0.0', ips, routes }],
  ['without a version', { ips, routes }],
  ['of 0.2.0', { cniVersion: '0.2.0', ip4: { ip: '10.0.0.7/24', gateway: '10.0.0.1', routes } }],
  ['of 0.4.0', { cniVersion: '0.4.0', ips: [{ version: '4', ...ips[0] }], routes }],
  [
    'with an index and interfaces that it cannot know of',
    { interfaces: [{ name: 'x' }], ips: [{ ...ips[0], interface: 3 }], routes },
  ],
];
for (const [what, stdout] of good) {
  test(`an IPAM result ${what} gives its addresses and routes, and no interface`, () => {
    const result = readIpamResult(call, exit(0, JSON.stringify(stdout)));
    assert.deepEqual(printResult(result, '1.0.0'), { cniVersion: '1.0.0', ips, routes });
  });
}

test('name service in an IPAM result is kept', () => {
  const result = readIpamResult(call, exit(0, JSON.stringify({ ips, dns: { nameservers: ['10.0.0.10'] } })));
  assert.deepEqual(result.dns, { nameservers: ['10.0.0.10'] });
});

const bad: readonly (readonly [string, string, RegExp])[] = [
  ['nothing', '', /Cannot read the result of IPAM plugin "host-local"/],
  ['no JSON', 'Segmentation fault', /Cannot read .*Segmentation fault/],
  ['a list', '[]', /expected an object/],
  ['no addresses', '{"cniVersion":"1.0.0"}', /gave no address/],
  ['an address without length', '{"ips":[{"address":"10.0.0.7"}]}', /stdout\.ips\[0\]\.address/],
  [
    'a route by a gateway of the other family',
    '{"ips":[{"address":"10.0.0.7/24"}],"routes":[{"dst":"0.0.0.0/0","gw":"fd00::1"}]}',
    /route to 0\.0\.0\.0\/0 by fd00::1 that IPAM plugin "host-local" gave/,
  ],
  [
    'an unspecified gateway',
    '{"ips":[{"address":"10.0.0.7/24","gateway":"0.0.0.0"}]}',
    /gateway 0\.0\.0\.0 that IPAM plugin "host-local" gave: it is unspecified/,
  ],
  ['an unknown version', '{"cniVersion":"9.9.9","ips":[]}', /incompatible CNI versions/],
];
for (const [what, stdout, message] of bad) {
  test(`a delegate that exits 0 and says ${what} has failed: code 106`, () => {
    const error = caught(() => readIpamResult(call, exit(0, stdout)));
    assert.equal(error.code, codes.delegateFailed);
    assert.match(`${error.message} ${error.details ?? ''}`, message);
  });
}

/** How a delegate fails; the code that we answer with; what the message and details say. */
const failures: readonly (readonly [string, DelegateExit, number, RegExp])[] = [
  [
    'a code of the specification',
    exit(1, '{"code":11,"msg":"later","details":"lock"}'),
    11,
    /"host-local" failed on ADD: later lock$/,
  ],
  ['an error object of 1.1.0', exit(1, '{"cniVersion":"1.1.0","code":7,"msg":"bad range"}'), 7, /bad range/],
  ['keys in capitals', exit(1, '{"Code":50,"Msg":"full"}'), 50, /full/],
  [
    'code 3, which would let the runtime skip our own DEL',
    exit(1, '{"code":3,"msg":"unknown"}'),
    106,
    /unknown code 3 of host-local/,
  ],
  ['a code of its own', exit(1, '{"code":100,"msg":"odd","details":"d"}'), 106, /odd code 100 of host-local: d/],
  ['libcni’s 999', exit(1, '{"code":999,"msg":"no IP addresses available"}'), 106, /no IP addresses available/],
  ['no code', exit(1, '{"msg":"x"}'), 106, /failed on ADD: x/],
  ['no message', exit(2, '{"code":5}'), 5, /exit code 2/],
  ['no JSON', exit(1, 'panic: boom'), 106, /without an error object panic: boom/],
  ['only stderr', exit(2, ' \n', 'flag provided but not defined'), 106, /exit code 2, .* flag provided/],
  ['silence', exit(1, ''), 106, /it said nothing/],
  ['a signal', { ...exit(null, ''), signal: 'SIGKILL' }, 106, /ended by SIGKILL/],
  ['a code that is no number', exit(1, '{"code":"7","msg":"x"}'), 106, /without an error object/],
];
for (const [what, how, code, message] of failures) {
  test(`a delegate that fails with ${what} makes us fail with code ${code}`, () => {
    const error = caught(() => checkDelegateExit(call, how));
    assert.equal(error.code, code);
    assert.match(`${error.message} ${error.details ?? ''}`, message);
    assert.equal(caught(() => readIpamResult(call, how)).code, code);
  });
}

for (const verb of ['DEL', 'CHECK', 'GC', 'STATUS'] as const) {
  test(`a delegate's ${verb} that exits 0 is fine whatever it says, and another exit is an error that names ${verb}`, () => {
    checkDelegateExit({ ...call, verb }, exit(0, 'chatter'));
    assert.match(
      caught(() => checkDelegateExit({ ...call, verb }, exit(1, ''))).message,
      new RegExp(`failed on ${verb}`),
    );
  });
}
