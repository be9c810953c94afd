/** The policies folder, call after call: what comes, goes or changes is seen at once, and no folder is listed for nothing. */
import assert from 'node:assert/strict';
import fs, { mkdirSync, mkdtempSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { readFolder } from '../lib/enforce/folder.ts';

const policy = (name: string): string =>
  JSON.stringify({
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    metadata: { name },
    spec: { podSelector: {} },
  });

/** As if so many milliseconds had passed since anything changed. */
const laterBy = ({ mock }: TestContext, ms: number): void =>
  mock.timers.enable({ apis: ['Date'], now: Date.now() + ms });

class Room implements Disposable {
  readonly path = mkdtempSync(join(tmpdir(), 'tg-folder-'));

  write(name: string): void {
    writeFileSync(join(this.path, name), policy(name));
  }

  async names(): Promise<string[]> {
    return Object.keys((await readFolder(this.path, {})).kept);
  }

  /** Until the file system's clock has gone on since the folder changed: with the clock of the test it has done so long ago. */
  tick(): void {
    const changed = statSync(this.path, { bigint: true }).ctimeNs;
    const probe = `${this.path}-probe`;
    do writeFileSync(probe, '');
    while (statSync(probe, { bigint: true }).ctimeNs <= changed);
    rmSync(probe);
  }

  [Symbol.dispose](): void {
    rmSync(this.path, { recursive: true, force: true });
  }
}

for (const [what, age] of [
  ['has just changed', 0],
  ['has not changed for long', 60_000],
] as const)
  test(`of a folder that ${what}, all that comes, goes, or is another folder by then is seen`, async context => {
    laterBy(context, age);
    using room = new Room();
    const change = (work: () => void): void => {
      if (age > 0) room.tick();
      work();
    };
    assert.deepEqual(await room.names(), []);
    change(() => room.write('a.json'));
    assert.deepEqual(await room.names(), ['a.json']);
    for (let i = 0; i < 20; i++) {
      change(() => room.write('b.json'));
      assert.deepEqual(await room.names(), ['a.json', 'b.json']);
      change(() => rmSync(join(room.path, 'b.json')));
      assert.deepEqual(await room.names(), ['a.json']);
    }
    change(() => renameSync(join(room.path, 'a.json'), join(room.path, 'c.json')));
    assert.deepEqual(await room.names(), ['c.json']);
    rmSync(room.path, { recursive: true });
    assert.deepEqual(await room.names(), []);
    mkdirSync(room.path);
    assert.deepEqual(await room.names(), []);
  });

for (const [what, age, lists] of [
  ['has not changed for long is listed once', 60_000, 1],
  ['has just changed is listed each time', 0, 5],
] as const)
  test(`a folder that ${what}`, async context => {
    laterBy(context, age);
    const list = context.mock.method(fs, 'readdirSync');
    syncBuiltinESMExports();
    using room = new Room();
    room.write('a.json');
    for (let i = 0; i < 5; i++) assert.deepEqual(await room.names(), ['a.json']);
    assert.equal(list.mock.callCount(), lists);
    list.mock.restore();
    syncBuiltinESMExports();
  });

test('a folder that cannot be listed is an error, and not what it was', async context => {
  laterBy(context, 60_000);
  using room = new Room();
  room.write('a.json');
  assert.deepEqual(await room.names(), ['a.json']);
  rmSync(room.path, { recursive: true });
  writeFileSync(room.path, '');
  await assert.rejects(room.names(), /Cannot read the policies folder .*ENOTDIR/);
});
