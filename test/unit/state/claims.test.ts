import assert from 'node:assert/strict';
import {
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { formatAddress, parseAddress, parsePrefix } from '../../../lib/ip/address.ts';
import { PoolExhausted } from '../../../lib/ipam/error.ts';
import type { Pool } from '../../../lib/ipam/pool.ts';
import { type Attachment, recordPath } from '../../../lib/state/attachment.ts';
import { holds, release, releaseLost, usage } from '../../../lib/state/claims.ts';
import { reserve } from '../../../lib/state/disk-claims.ts';
import { AlreadyReserved } from '../../../lib/state/error.ts';
import { collectNameless, collectOrphans, reclaim } from '../../../lib/state/leftovers.ts';
import { listAttachments } from '../../../lib/state/listed.ts';
import { networkFolders, type Store } from '../../../lib/state/store.ts';
import { tapFs } from '../../support/fs-tap.ts';
import { adding, contents, existing, from, network, owner, poolsOf, room } from '../../support/state-room.ts';

/** An ADD that succeeds: the addresses, as text. */
async function add(store: Store, id: string, pools: readonly Pool[], wishes: string[] = []): Promise<string[]> {
  using held = await adding(store, owner(id));
  const given = reserve(held, from(pools, wishes)).map(({ address }) => formatAddress(address));
  held.append({ phase: 'ready' });
  return given;
}

async function del(store: Store, id: string): Promise<readonly string[]> {
  using held = await existing(store, owner(id));
  const released = held ? release(held) : [];
  held?.remove();
  return released;
}

const one = poolsOf('10.0.0.0/29');
const both = poolsOf('10.0.0.0/29', 'fd00::/64');

test('an address comes with subnet and gateway, is claimed, and noted in the record', async () => {
  using at = room();
  using held = await adding(at.store, owner('a'));
  assert.deepEqual(reserve(held, from(both)), [
    { address: parseAddress('10.0.0.2'), subnet: parsePrefix('10.0.0.0/29'), gateway: parseAddress('10.0.0.1') },
    { address: parseAddress('fd00::2'), subnet: parsePrefix('fd00::/64'), gateway: parseAddress('fd00::1') },
  ]);
  assert.deepEqual(held.facts.addresses, ['10.0.0.2', 'fd00::2']);
  assert.equal(held.claimCount, 2);
  assert.ok(holds(held, parseAddress('fd00::2')!));
  assert.ok(!holds(held, parseAddress('fd00::3')!));
  assert.deepEqual(contents(at.store), { attachments: ['a:eth0'], claims: ['10.0.0.2', 'fd00::2'] });
});

test('DEL gives everything back, again and again, and for a stranger too', async () => {
  using at = room();
  await add(at.store, 'a', both);
  await add(at.store, 'b', both);
  assert.deepEqual(await del(at.store, 'a'), ['10.0.0.2', 'fd00::2']);
  assert.deepEqual(await del(at.store, 'a'), []);
  assert.deepEqual(await del(at.store, 'never there'), []);
  assert.deepEqual(contents(at.store), { attachments: ['b:eth0'], claims: ['10.0.0.3', 'fd00::3'] });
});

test('a second ADD of the same interface takes nothing', async () => {
  using at = room();
  await add(at.store, 'a', one);
  using held = await adding(at.store, owner('a'));
  assert.throws(
    () => reserve(held, from(one)),
    error => error instanceof AlreadyReserved && /for a eth0: it holds 10\.0\.0\.2 already/.test(error.message),
  );
  assert.deepEqual(contents(at.store).claims, ['10.0.0.2']);
});

test('two interfaces of one container have an address each', async () => {
  using at = room();
  using first = await adding(at.store, owner('a', 'eth0'));
  using second = await adding(at.store, owner('a', 'eth1'));
  reserve(first, from(one));
  reserve(second, from(one));
  assert.deepEqual(release(first), ['10.0.0.2']);
  assert.deepEqual(contents(at.store).claims, ['10.0.0.3']);
});

test('how full a pool is', async () => {
  using at = room();
  for (const id of ['a', 'b', 'c', 'd', 'e']) await add(at.store, id, one);
  using held = await adding(at.store, owner('f'));
  assert.throws(() => reserve(held, from(one)), PoolExhausted);
  assert.equal(held.claimCount, 0);
  assert.deepEqual(usage(at.store, network, one), [{ pool: '10.0.0.1-10.0.0.6', size: 5n, taken: 5 }]);
});

test('a hundred taken ones in a row are no obstacle', async () => {
  using at = room();
  const wide = poolsOf('10.0.0.0/24');
  for (let i = 0; i < 100; i++) await add(at.store, `p${i}`, wide);
  writeFileSync(
    join(networkFolders(at.store, network).last, readdirSync(networkFolders(at.store, network).last)[0]!),
    '',
  );
  assert.deepEqual(await add(at.store, 'x', wide), ['10.0.0.102']);
});

test('an orphan whose owner holds its lock stays until it is let go', async () => {
  using at = room();
  {
    using held = await adding(at.store, owner('a'));
    reserve(held, from(one));
    unlinkSync(held.path);
    assert.deepEqual(collectOrphans(at.store, network), []);
  }
  assert.deepEqual(collectOrphans(at.store, network), ['10.0.0.2']);
});

test('a claim is no orphan because its record was made after the records were listed', async () => {
  using at = room();
  await add(at.store, 'a', one);
  await add(at.store, 'b', one);
  writeFileSync(recordPath(at.store, owner('b')), 'garbage');
  const { attachments } = networkFolders(at.store, network);
  let listings = 0;
  {
    using _ = tapFs((operation, [path], run) =>
      operation === 'readdirSync' && path === attachments && listings++ === 0 ? [] : run(),
    );
    assert.deepEqual(collectOrphans(at.store, network), []);
  }
  assert.equal(contents(at.store).claims.length, 2);
});

test('garbage between the claims is swept, and what keeps an address from everybody; other folders are left', async () => {
  using at = room();
  await add(at.store, 'a', one);
  const { claims } = networkFolders(at.store, network);
  writeFileSync(join(claims, '10.0.0.3'), '');
  writeFileSync(join(claims, 'README'), 'what is this?');
  mkdirSync(join(claims, '10.0.0.4'));
  mkdirSync(join(claims, 'theirs'));
  assert.deepEqual([...collectOrphans(at.store, network)].sort(), ['10.0.0.3', '10.0.0.4', 'README']);
  assert.deepEqual(contents(at.store).claims, ['10.0.0.2', 'theirs']);
});

const ofA = JSON.stringify({ containerID: 'a', ifname: 'eth0' });
const inPlaceOfAClaim: readonly (readonly [
  what: string,
  harm: (claim: string, store: Store) => unknown,
  isHad: boolean,
])[] = [
  ['nothing', () => undefined, true],
  ['a link that leads nowhere', claim => symlinkSync('/run/nowhere', claim), true],
  ['a folder', claim => mkdirSync(claim), true],
  ['a file whose text is lost, and no record', claim => writeFileSync(claim, 'null'), true],
  ['a file that names this attachment', claim => writeFileSync(claim, ofA), true],
  ['the claim of another attachment', (claim, store) => linkSync(recordPath(store, owner('b')), claim), false],
  [
    'a file that names another attachment, whose record is lost',
    claim => writeFileSync(claim, ofA.replace('"a"', '"c"')),
    false,
  ],
];
for (const [what, harm, isHad] of inPlaceOfAClaim)
  test(`an attachment ${isHad ? 'has its address again' : 'does not take the address'} where ${what} is in place of its claim`, async () => {
    using at = room();
    await add(at.store, 'b', poolsOf('10.1.0.0/29'));
    await add(at.store, 'a', one);
    const claim = join(networkFolders(at.store, network).claims, '10.0.0.2');
    unlinkSync(claim);
    harm(claim, at.store);
    using held = await existing(at.store, owner('a'));
    const address = parseAddress('10.0.0.2')!;
    assert.deepEqual([reclaim(held!, address), holds(held!, address)], [isHad, isHad]);
  });

test('a claim that was never noted is found and given back', async () => {
  using at = room();
  {
    using held = await adding(at.store, owner('a'));
    reserve(held, from(one));
    linkSync(held.path, join(networkFolders(at.store, network).claims, '10.0.0.6'));
  }
  assert.deepEqual(await del(at.store, 'a'), ['10.0.0.2', '10.0.0.6']);
  assert.deepEqual(contents(at.store), { attachments: [], claims: [] });
});

test('a record that lies about its addresses gives back its own only', async () => {
  using at = room();
  await add(at.store, 'a', one);
  await add(at.store, 'b', one);
  {
    using held = await existing(at.store, owner('b'));
    held?.append({ addresses: ['10.0.0.2', '10.0.0.3'] });
  }
  assert.deepEqual(await del(at.store, 'b'), ['10.0.0.3']);
  assert.deepEqual(contents(at.store), { attachments: ['a:eth0'], claims: ['10.0.0.2'] });
});

const inPlaceOfARecord: readonly (readonly [what: string, harm: (record: string, other: string) => void])[] = [
  ['nothing', () => undefined],
  ['a link that leads nowhere', record => symlinkSync('/run/nowhere', record)],
  ['a link to a file', (record, other) => symlinkSync(other, record)],
  ['a folder', record => mkdirSync(record)],
];
for (const [what, harm] of inPlaceOfARecord)
  test(`an attachment that is undone gives its address back where ${what} is in place of its record`, async () => {
    using at = room();
    await add(at.store, 'a', one);
    const other = join(at.store.folder, 'other');
    writeFileSync(other, 'of another program');
    const path = recordPath(at.store, owner('a'));
    unlinkSync(path);
    harm(path, other);
    releaseLost(at.store, owner('a'), ['10.0.0.2']);
    assert.deepEqual(contents(at.store), { attachments: [], claims: [] });
    assert.equal(readFileSync(other, 'utf8'), 'of another program');
  });

test('a record of garbage still gives its addresses back', async () => {
  using at = room();
  await add(at.store, 'a', both);
  writeFileSync(recordPath(at.store, owner('a')), '\0garbage');
  assert.equal((await del(at.store, 'a')).length, 2);
  assert.deepEqual(contents(at.store), { attachments: [], claims: [] });
});

const spoilers: [sentence: string, spoil: (folders: ReturnType<typeof networkFolders>) => void][] = [
  ['the last address is garbage', ({ last }) => spoilAll(last, 'garbage')],
  ['the last address is empty', ({ last }) => spoilAll(last, '')],
  ['the last address is of no range', ({ last }) => spoilAll(last, '172.16.0.1')],
  ['release notes hold text', ({ released }) => spoilAll(released, 'garbage')],
  ['release notes come from the future', ({ released }) => spoilAll(released, '', 4e9)],
  ['strange release notes', ({ released }) => writeFileSync(join(released, 'hello'), '')],
];
function spoilAll(folder: string, text: string, mtime?: number): void {
  for (const name of readdirSync(folder)) {
    writeFileSync(join(folder, name), text);
    if (mtime !== undefined) utimesSync(join(folder, name), mtime, mtime);
  }
}
for (const [sentence, spoil] of spoilers)
  test(`an address is found all the same where ${sentence}`, async () => {
    using at = room();
    await add(at.store, 'a', one);
    await add(at.store, 'b', one);
    await del(at.store, 'a');
    spoil(networkFolders(at.store, network));
    const given: string[] = [];
    for (const id of ['c', 'd', 'e', 'f']) given.push(...(await add(at.store, id, one)));
    assert.deepEqual(
      given.sort(),
      [2, 4, 5, 6].map(n => `10.0.0.${n}`),
    );
    await assert.rejects(add(at.store, 'g', one), PoolExhausted);
  });

test('notes of releases are forgotten in time, so that an IPv6 range does not grow for ever', async () => {
  using at = room();
  const wide = poolsOf('fd00::/64');
  for (let i = 0; i < 30; i++) {
    await add(at.store, 'a', wide);
    await del(at.store, 'a');
    at.pass(1_000_000);
  }
  const notes = readdirSync(networkFolders(at.store, network).released).length;
  assert.ok(notes > 0 && notes < 6, `${notes} notes`);
});

test('what a listing says of a record comes from its content, or from its name', async () => {
  using at = room();
  const long = owner('x'.repeat(300));
  for (const whose of [owner('a'), owner('b'), long]) (await adding(at.store, whose))[Symbol.dispose]();
  writeFileSync(recordPath(at.store, owner('b')), 'garbage');
  writeFileSync(recordPath(at.store, owner('c')), '{"containerID":"a","ifname":"eth0"}');
  const owners = () => listAttachments(at.store, network).map(found => found.owner);
  assert.deepEqual(new Set(owners().map(found => found?.containerID)), new Set(['a', 'b', 'c', long.containerID]));
  writeFileSync(recordPath(at.store, long), 'garbage');
  assert.equal(owners().filter(found => found === undefined).length, 1);
});

test('a record that nobody can name is swept with its claims, unless it is in use', async () => {
  using at = room();
  const long = owner('x'.repeat(300));
  const held: Attachment = await adding(at.store, long);
  reserve(held, from(one));
  writeFileSync(held.path, 'garbage');
  assert.deepEqual(collectNameless(at.store, network), []);
  held[Symbol.dispose]();
  assert.deepEqual(collectNameless(at.store, network), [held.path]);
  assert.deepEqual(contents(at.store), { attachments: [], claims: [] });
});
