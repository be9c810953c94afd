/** What .build/pack.ts makes where the plugin may be run meanwhile, and where not. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'tg-pack-'));
test.after(() => rmSync(folder, { recursive: true }));

/** @returns the executable, and what was said of it */
function pack(name: string, path = process.env['PATH']): { readonly file: string; readonly said: string } {
  const file = join(folder, name);
  const program = [`${root}.build/pack.ts`, file, `${root}dist/tools/launcher`];
  const options = { encoding: 'utf8', env: { ...process.env, PATH: path } } as const;
  const done = spawnSync(process.execPath, ['--disable-warning=ExperimentalWarning', ...program], options);
  assert.equal(done.status, 0, done.stderr);
  return { file, said: done.stderr };
}

/** Code caches that V8 would make a copy of, for they do not begin at a multiple of eight. */
function misplaced(file: string): string[] {
  const bytes = readFileSync(file);
  return ['plugin', 'cli', 'handover', 'cidr', 'yaml'].filter(name => {
    const key = `${name}.cache`;
    for (let at = bytes.indexOf(key); at >= 0; at = bytes.indexOf(key, at + 1)) {
      const start = at + key.length + 8;
      const length = Number(bytes.readBigUInt64LE(start - 8));
      if (length > bytes.length) continue;
      const begins = start + bytes[start + length - 1]!;
      // V8's own mark of a code cache.
      return bytes.readUInt16LE(begins + 2) !== 0xc0de || begins % 8 !== 0;
    }
    return true;
  });
}

test('the build lets the plugin run an ADD and a DEL, and carries the code of these only', () => {
  const trained = pack('trained');
  const untrained = pack('untrained', '/nowhere');
  assert.doesNotMatch(trained.said, /starts 2 ms later/);
  assert.match(
    untrained.said,
    /^The plugin starts 2 ms later than it could, for it cannot be run here: .*unshare.*ENOENT$/m,
  );
  const spared = statSync(untrained.file).size - statSync(trained.file).size;
  assert.ok(spared > 200_000, `${spared} bytes`);
  for (const { file } of [trained, untrained]) {
    assert.deepEqual(misplaced(file), []);
    const { stdout, status } = spawnSync(file, { encoding: 'utf8', input: '', env: { CNI_COMMAND: 'VERSION' } });
    assert.match(stdout, /"supportedVersions"/);
    assert.equal(status, 0);
  }
});
