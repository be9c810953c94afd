import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { build } from 'esbuild';
import { loadFromBytes, places } from '../../lib/kernel/addon.ts';
import { scratchFolder } from '../support/scratch.ts';

const require = createRequire(import.meta.url);
const packageFolder = dirname(dirname(require.resolve('netlink')));
const addon = join(packageFolder, `prebuilds/linux-${process.arch}/node.napi.node`);
const folder = scratchFolder('test');

const descriptors = () => readdirSync('/proc/self/fd').length;
const hasSocket = (exports: unknown) =>
  typeof exports === 'object' &&
  exports !== null &&
  'NativeNetlink' in exports &&
  typeof exports.NativeNetlink === 'function';
const leftovers = () =>
  ['/run', '/tmp', '/dev/shm'].flatMap(where => readdirSync(where)).filter(name => name.startsWith('.tollgate-'));

test('the addon loads from bytes, and neither file nor descriptor is left', () => {
  const before = descriptors();
  assert.ok(hasSocket(loadFromBytes(readFileSync(addon))));
  assert.equal(descriptors(), before);
  assert.deepEqual(leftovers(), []);
});

/**
 * Runs the expression over `load`, `bytes` and `places` in a process of its own: libc goes by a library's name, so the
 * second load in a process under the same descriptor's number would prove nothing.
 */
function alone(expression: string): string {
  const library = new URL('../../lib/kernel/addon.ts', import.meta.url).href;
  const program = `
    const { AddonError, loadFromBytes: load, places } = await import(${JSON.stringify(library)});
    const bytes = (await import('node:fs')).readFileSync(${JSON.stringify(addon)});
    const barred = { name: 'barred', open: () => { throw new Error('EACCES'); } };
    const message = run => { try { run(); return 'nothing thrown'; } catch (error) { return error instanceof AddonError ? error.message : String(error); } };
    console.log(${expression});`;
  return execFileSync(process.execPath, ['--input-type=module', '-e', program], { encoding: 'utf8' }).trimEnd();
}

for (const [i, { name }] of places.entries()) {
  // Folders of the machine may be mounted noexec; memory and /tmp must do.
  if (!name.startsWith('memory') && !name.startsWith('/tmp')) continue;
  test(`it loads from ${name} alone`, () =>
    assert.equal(alone(`typeof load(bytes, [places[${i}]]).NativeNetlink`), 'function'));
}

test('a place that will not do gives way to the next', () => {
  assert.equal(alone('typeof load(bytes, [barred, ...places]).NativeNetlink'), 'function');
  assert.equal(alone('message(() => load(bytes, [barred]))'), 'Cannot load netlink.node: barred: EACCES');
});

test('bytes that are no addon are refused with every place that was tried', () => {
  const message = alone("message(() => load(Buffer.from('not an addon')))");
  for (const { name } of places) assert.ok(message.includes(name), `${name} in: ${message}`);
  assert.deepEqual(leftovers(), []);
});

test('in a bundle the package gets its addon through our stand-in for node-gyp-build', async () => {
  const root = dirname(dirname(packageFolder));
  await build({
    stdin: {
      contents: `import { RawNetlinkSocket } from 'netlink/dist/raw.js';
        const socket = new RawNetlinkSocket(0); console.log(socket.address().port > 0); socket.close();`,
      resolveDir: root,
    },
    alias: { 'node-gyp-build': join(root, 'lib/kernel/node-gyp-build.cjs') },
    bundle: true,
    platform: 'node',
    format: 'cjs',
    target: 'node26',
    // Where the bundle believes the package to be, as it is not in the executable.
    define: { __dirname: JSON.stringify(join(packageFolder, 'dist')) },
    outfile: join(folder, 'bundle.cjs'),
    logLevel: 'error',
  });
  assert.equal(execFileSync(process.execPath, [join(folder, 'bundle.cjs')], { encoding: 'utf8' }), 'true\n');
});
