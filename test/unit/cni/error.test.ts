import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CniError, type CodeName, codes, errorObject } from '../../../lib/cni/error.ts';

/** What the specification, or our own list from 100 on, calls each code: a number once given out never changes. */
const rows: readonly (readonly [CodeName, number, string])[] = [
  ['incompatibleVersion', 1, 'the config speaks a version that we do not'],
  ['unsupportedField', 2, 'a field that we cannot honour'],
  ['unknownContainer', 3, 'the container does not exist, DEL is needless'],
  ['invalidEnvironment', 4, 'a bad or missing environment variable'],
  ['ioFailure', 5, 'stdin cannot be read'],
  ['decodingFailure', 6, 'stdin is not JSON'],
  ['invalidConfig', 7, 'the config makes no sense'],
  ['invalidNetns', 8, 'the network namespace is none, or ours'],
  ['tryAgainLater', 11, 'the same call may succeed later'],
  ['notAvailable', 50, 'STATUS: no ADD could be served'],
  ['limitedConnectivity', 51, 'STATUS: and pods that are there suffer, too'],
  ['poolExhausted', 100, 'no address is left'],
  ['duplicateAttachment', 101, 'the container has this interface already'],
  ['kernelRefused', 102, 'rtnetlink said no'],
  ['nftRefused', 103, 'nftables said no'],
  ['checkMismatch', 104, 'CHECK found something else than ADD made'],
  ['stateStore', 105, 'records cannot be read or written'],
  ['delegateFailed', 106, 'another plugin failed'],
  ['enforcementRefused', 107, 'the hook said no'],
  ['notOurs', 108, 'the link is somebody else’s'],
  ['internal', 199, 'a defect'],
];
for (const [name, code, meaning] of rows) {
  test(`code ${code} (${name}): ${meaning}`, () => {
    assert.equal(codes[name], code);
    const object = errorObject(new CniError(codes[name], 'what to do', 'more'), '1.0.0');
    assert.deepEqual(object, { cniVersion: '1.0.0', code, msg: 'what to do', details: 'more' });
  });
}

test('every code has a row, no number is given out twice, and 999 is left to libcni', () => {
  assert.deepEqual(
    Object.keys(codes),
    rows.map(([name]) => name),
  );
  const numbers = Object.values<number>(codes);
  assert.equal(new Set(numbers).size, numbers.length);
  assert.ok(!numbers.includes(999));
  // 9 and 10 are reserved by the specification, and so is all from 12 to 99 but 50 and 51.
  assert.deepEqual(
    numbers.filter(code => code < 100),
    [1, 2, 3, 4, 5, 6, 7, 8, 11, 50, 51],
  );
});

test('details that are empty or absent are left out of the error object', () => {
  for (const details of [undefined, ''])
    assert.deepEqual(errorObject(new CniError(7, 'bad', details), '0.4.0'), {
      cniVersion: '0.4.0',
      code: 7,
      msg: 'bad',
    });
});

const untyped: readonly (readonly [string, unknown, RegExp])[] = [
  ['an Error', new TypeError('x is undefined'), /TypeError: x is undefined/],
  ['a thrown string', 'boom', /boom/],
  ['undefined', undefined, /undefined/],
];
for (const [what, thrown, message] of untyped) {
  test(`${what} without a code becomes code 199 with its message and no stack trace`, () => {
    const object = errorObject(thrown, '1.1.0');
    assert.equal(object.code, 199);
    assert.match(object.msg, message);
    assert.doesNotMatch(JSON.stringify(object), /\bat .*\.ts:/);
  });
}

test('an error without a code does not become an error of the specification by having a `code` property', () => {
  assert.equal(errorObject(Object.assign(new Error('no space'), { code: 3 }), '1.1.0').code, 199);
});
