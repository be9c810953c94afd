import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { linkSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { formatAddress, parseAddress } from '../../lib/ip/address.ts';
import { holds, release } from '../../lib/state/claims.ts';
import { reserve } from '../../lib/state/disk-claims.ts';
import { networkFolders } from '../../lib/state/store.ts';
import { countFs } from '../support/fs-tap.ts';
import { adding, existing, from, network, owner, poolsOf, room } from '../support/state-room.ts';

interface Outcome {
  readonly outcome: readonly string[] | string;
  readonly attachments: readonly string[];
  readonly claims: readonly string[];
}

/**
 * Runs shell lines in a mount namespace of their own, where `$dir` is an empty folder to mount on and `actor` is the actor;
 * gives what the actor said, call by call.
 */
function inOwnMounts(dir: string, lines: string): Outcome[] {
  const script = join(import.meta.dirname, '../support/state-actor.ts');
  const prelude = `set -e; dir=$1; node=$2; script=$3; actor() { "$node" "$script" "$@"; }`;
  const output = execFileSync(
    'unshare',
    ['-m', 'sh', '-c', `${prelude}\n${lines}`, 'sh', dir, process.execPath, script],
    {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'inherit'],
    },
  );
  return output
    .split('\n')
    .filter(line => line !== '')
    .map(line => JSON.parse(line) as Outcome);
}

const nothing = { attachments: [], claims: [] };

test('a disk with too few inodes, at whatever point they end: ENOSPC, and nothing is changed', () => {
  using at = room();
  const outcomes = inOwnMounts(
    at.stateDir,
    `for inodes in 2 3 4 5 6 7 8 9 10 11 12 13 14; do
       mount -t tmpfs -o nr_inodes=$inodes tmpfs "$dir"
       actor add "$dir" x 10.0.0.0/24 fd00::/64
       actor del "$dir" x
       umount "$dir"
     done`,
  );
  assert.equal(outcomes.length, 26);
  const adds = outcomes.filter((_, i) => i % 2 === 0);
  assert.equal(adds[0]?.outcome, 'ENOSPC');
  assert.deepEqual(adds.at(-1)?.outcome, ['10.0.0.2', 'fd00::2']);
  for (const { outcome, attachments, claims } of adds) {
    if (outcome === 'ENOSPC') assert.deepEqual({ attachments, claims }, nothing);
    else assert.deepEqual({ attachments, claims }, { attachments: ['x:eth0'], claims: ['10.0.0.2', 'fd00::2'] });
  }
  for (const { outcome, ...kept } of outcomes.filter((_, i) => i % 2 === 1)) {
    assert.ok(Array.isArray(outcome), 'DEL needs no space');
    assert.deepEqual(kept, nothing);
  }
  assert.ok(new Set(adds.map(({ outcome }) => String(outcome))).size === 2);
});

test('a disk with no room for a record: ENOSPC, and nothing is changed; a full one: DEL still works', () => {
  using at = room();
  const [refused, added, deleted] = inOwnMounts(
    at.stateDir,
    `mount -t tmpfs -o size=64k tmpfs "$dir"
     fill() { dd if=/dev/zero of="$dir/filler" bs=4k 2>/dev/null || true; }
     fill; actor add "$dir" x 10.0.0.0/24
     rm "$dir/filler"; actor add "$dir" x 10.0.0.0/24
     fill; actor del "$dir" x`,
  );
  assert.deepEqual(refused, { outcome: 'ENOSPC', ...nothing });
  assert.deepEqual(added, { outcome: ['10.0.0.2'], attachments: ['x:eth0'], claims: ['10.0.0.2'] });
  assert.deepEqual(deleted, { outcome: ['10.0.0.2'], ...nothing });
});

test('a read-only folder: EROFS, and nothing is changed; DEL of what is not there succeeds', () => {
  using at = room();
  const kept = { attachments: ['x:eth0'], claims: ['10.0.0.2'] };
  const outcomes = inOwnMounts(
    at.stateDir,
    `mount -t tmpfs tmpfs "$dir"
     actor add "$dir" x 10.0.0.0/24
     mount -o remount,ro "$dir"
     actor add "$dir" y 10.0.0.0/24
     actor del "$dir" x
     actor del "$dir" z`,
  );
  assert.deepEqual(outcomes, [
    { outcome: ['10.0.0.2'], ...kept },
    { outcome: 'EROFS', ...kept },
    { outcome: 'EROFS', ...kept },
    { outcome: [], ...kept },
  ]);
});

test('ADD, CHECK and DEL cost the same file operations at 1 and at 60,000 addresses, and read no folder', async () => {
  using at = room();
  const pools = poolsOf('10.0.0.0/16');
  const { claims } = networkFolders(at.store, network);
  const cost = async (id: string) => {
    const whose = owner(id);
    const add = await countFs(async () => {
      using held = await adding(at.store, whose);
      reserve(held, from(pools));
    });
    const check = await countFs(async () => {
      using held = await existing(at.store, whose);
      assert.ok(held?.facts.addresses?.every(text => holds(held, parseAddress(text)!)));
    });
    const del = await countFs(async () => {
      using held = await existing(at.store, whose);
      assert.ok(held && release(held).length === 1);
      held.remove();
    });
    return { add, check, del };
  };
  await cost('first makes the folders');
  const small = await cost('b');
  mkdirSync(claims, { recursive: true });
  let next = parseAddress('10.0.0.4')!.value;
  for (let holder = 0; holder < 6; holder++) {
    using held = await adding(at.store, owner(`holder${holder}`));
    for (let i = 0; i < 10_000; i++, next++)
      linkSync(held.path, join(claims, formatAddress({ family: 4, value: next })));
  }
  using last = await adding(at.store, owner('last'));
  reserve(last, from(pools, []));
  const large = await cost('c');
  assert.deepEqual(large, small);
  for (const counts of [large.add, large.check, large.del]) assert.equal(counts.get('readdirSync'), undefined);
  const sum = (counts: ReadonlyMap<string, number>) => [...counts.values()].reduce((a, b) => a + b);
  assert.ok(
    sum(large.add) < 35 && sum(large.check) < 15 && sum(large.del) < 25,
    `${sum(large.add)} ${sum(large.check)} ${sum(large.del)}`,
  );
});
