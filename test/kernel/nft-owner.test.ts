/** What the table flags OWNER and PERSIST do on this kernel: the facts that lib/kernel/nft.ts tells, line by line. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { inNetns } from '../../lib/kernel/netns.ts';
import { Nft } from '../../lib/kernel/nft.ts';
import { NftError } from '../../lib/kernel/nft-refusal.ts';
import { ADOPT, type Operation, type Transaction } from '../../lib/nft/transaction.ts';
import { makeNetns, type Netns, until } from '../support/netns.ts';

const TABLE = { family: 'inet', name: 'tollgate' } as const;
const change = (...operations: Operation[]): Transaction => ({ family: 'inet', table: 'tollgate', operations });
const addChain = (name: string): Operation => ({ verb: 'add', object: 'chain', chain: { name } });
const makeTable = (flags: { owner?: boolean; persist?: boolean }): Operation => ({
  verb: 'create',
  object: 'table',
  ...flags,
});

const openIn = (netns: Netns): Nft => inNetns(netns, () => Nft.open());

function refusal(code: string): (error: unknown) => boolean {
  return error => error instanceof NftError && error.code === code;
}

/** A table that one socket made, and then closed. */
async function orphan(netns: Netns, flags: { owner?: boolean; persist?: boolean }): Promise<Nft> {
  const owner = openIn(netns);
  owner.commit(change(makeTable(flags), addChain('first')));
  owner[Symbol.dispose]();
  const nft = openIn(netns);
  await until('the table has lost its owner', () => !nft.read(TABLE)?.owner);
  return nft;
}

test('probeTableFlags() tells that this kernel has both flags, and leaves nothing behind', () => {
  using netns = makeNetns();
  using nft = openIn(netns);
  const before = nft.generation();
  assert.deepEqual(nft.probeTableFlags(), { owner: true, persist: true });
  assert.equal(nft.generation(), before);
  assert.equal(netns.exec('nft', ['list', 'ruleset']).stdout, '');
});

test('while its owner lives, nobody else changes, adopts, flushes or deletes the table; everybody reads it', () => {
  using netns = makeNetns();
  using owner = openIn(netns);
  using other = openIn(netns);
  owner.commit(change(makeTable({ owner: true, persist: true }), addChain('first')));
  assert.throws(() => other.commit(change(addChain('second'))), refusal('EPERM'));
  assert.throws(() => other.commit(change(ADOPT)), refusal('EPERM'));
  assert.match(netns.try('nft', ['delete', 'table', 'inet', 'tollgate']).stderr, /not permitted/);
  netns.exec('nft', ['flush', 'ruleset']);
  assert.match(netns.exec('nft', ['list', 'table', 'inet', 'tollgate']).stdout, /flags owner[\s\S]*chain first/);
  assert.equal(other.read(TABLE)?.owner, true);
  owner.commit(change(addChain('second')));
  assert.deepEqual(
    other.readTable('inet', 'tollgate')?.chains.map(({ name }) => name),
    ['first', 'second'],
  );
});

test('a persistent table outlives its owner; then anybody changes it without adopting it', async () => {
  using netns = makeNetns();
  using nft = await orphan(netns, { owner: true, persist: true });
  nft.commit(change(addChain('second')));
  const read = nft.read(TABLE);
  assert.deepEqual([read?.owner, read?.persist, read?.table.chains.length], [false, true, 2]);
  netns.exec('nft', ['add', 'chain', 'inet', 'tollgate', 'third']);
});

test('`nft flush ruleset` deletes a persistent table that nobody owns', async () => {
  using netns = makeNetns();
  using nft = await orphan(netns, { owner: true, persist: true });
  netns.exec('nft', ['flush', 'ruleset']);
  assert.equal(nft.readTable('inet', 'tollgate'), undefined);
});

test('an orphan is adopted in the batch that changes it, and then stands `nft flush ruleset` again', async () => {
  using netns = makeNetns();
  using nft = await orphan(netns, { owner: true, persist: true });
  nft.commit(change(ADOPT, addChain('second')));
  nft.commit(change(ADOPT, addChain('third')));
  netns.exec('nft', ['flush', 'ruleset']);
  assert.deepEqual([nft.read(TABLE)?.owner, nft.read(TABLE)?.table.chains.length], [true, 3]);
});

test('a table that was made persistent without an owner can be adopted too', async () => {
  using netns = makeNetns();
  using nft = await orphan(netns, { persist: true });
  nft.commit(change(ADOPT));
  assert.equal(nft.read(TABLE)?.owner, true);
});

test('`add table` with flags that are not those of the table is refused', async () => {
  using netns = makeNetns();
  using nft = await orphan(netns, { owner: true, persist: true });
  assert.throws(() => nft.commit(change({ verb: 'add', object: 'table' })), refusal('ENOTSUP'));
  nft.commit(change({ verb: 'delete', object: 'table' }, makeTable({})));
  assert.throws(() => nft.commit(change(ADOPT)), refusal('ENOTSUP'));
});

test('a table with an owner but without PERSIST goes when the socket closes', async () => {
  using netns = makeNetns();
  using nft = await orphan(netns, { owner: true });
  assert.equal(nft.readTable('inet', 'tollgate'), undefined);
});
