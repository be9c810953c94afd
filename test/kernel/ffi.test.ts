/** Calls of libc: what is wrong with them shows before the first real one. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { libc, NativeCallError, selfTest } from '../../lib/kernel/ffi.ts';
import { PATIENCE } from '../support/until.ts';

test('selfTest() catches a signature that was ignored, an errno that is wrong, and a call that does nothing', () => {
  const real = libc();
  assert.doesNotThrow(() => selfTest(real));
  const ignored = () => {
    throw new TypeError('Invalid argument count: expected 0');
  };
  const broken: [string, Partial<typeof real>][] = [
    ['arguments ignored', { setns: ignored }],
    ['errno of another thread', { errno: () => 0 }],
    ['result ignored', { flock: () => 0 }],
  ];
  for (const [what, part] of broken) assert.throws(() => selfTest({ ...real, ...part }), NativeCallError, what);
});

/** How many pieces of machine code of no file the process has after each of these lines; V8's own may be written to. */
function machineCodes(...lines: readonly string[]): number[] {
  const program = `
    const { readFileSync } = process.getBuiltinModule('node:fs');
    const ours = await import(${JSON.stringify(new URL('../../lib/kernel/ffi.ts', import.meta.url).href)});
    const count = () => readFileSync('/proc/self/maps', 'utf8').match(/^\\S+ r-xp \\S+ \\S+ 0 *$/gm)?.length ?? 0;
    const counts = [];
    ${lines.map(line => `${line}; counts.push(count());`).join('\n')}
    console.log(JSON.stringify(counts));`;
  const args = ['--no-warnings', '--input-type=module', '-e', program];
  const { stdout, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8', timeout: PATIENCE });
  assert.equal(stderr, '');
  return JSON.parse(stdout) as number[];
}

test('node:ffi makes no machine code for our functions, which would crash a process whose threads end', () => {
  const [none, ours, its] = machineCodes(
    '',
    'for (const name of ["libc", "syscallLibc", "socketLibc", "memoryLibc", "worldLibc", "mallocLibc"]) ours[name]()',
    'process.getBuiltinModule("node:ffi").dlopen("libc.so.6", { flock: { arguments: ["int32", "int32"], return: "int32" } })',
  );
  assert.equal(ours, none);
  assert.ok(its! > ours!, 'the test sees machine code where there is some');
});
