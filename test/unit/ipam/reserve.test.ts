/** Which address an attachment gets: the same on the disk as in memory. */
import assert from 'node:assert/strict';
import { statSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';
import { suite, test } from 'node:test';
import fc from 'fast-check';
import { formatAddress, parseAddress } from '../../../lib/ip/address.ts';
import { AddressRefused, PoolExhausted } from '../../../lib/ipam/error.ts';
import type { Pool } from '../../../lib/ipam/pool.ts';
import { type Reservation, reserve } from '../../../lib/ipam/reserve.ts';
import { recordPath } from '../../../lib/state/attachment.ts';
import { release } from '../../../lib/state/claims.ts';
import { reserve as reserveOnDisk } from '../../../lib/state/disk-claims.ts';
import { AlreadyReserved } from '../../../lib/state/error.ts';
import { networkFolders } from '../../../lib/state/store.ts';
import { MapClaims } from '../../support/map-claims.ts';
import { adding, contents, existing, from, network, owner, poolsOf, room } from '../../support/state-room.ts';

/** A network whose containers come and go. */
interface Network extends Disposable {
  readonly add: (id: string, reservation: Reservation) => Promise<readonly string[]>;
  readonly del: (id: string) => Promise<readonly string[]>;
  readonly pass: (milliseconds: number) => void;
  readonly taken: () => readonly string[];
  /** Removes the container's record by another way than DEL. */
  readonly loseRecord: (id: string) => void;
  /** An ADD for a container that has an address; absent where nothing keeps it from a second one. */
  readonly refuseAgain?: (id: string) => Promise<void>;
  /** What is kept of each address leads to its container. */
  readonly assertOwned: (owners: ReadonlyMap<string, string>) => void;
}

function inMemory(): Network {
  const claims = new MapClaims();
  return {
    add: async (id, reservation) => reserve(claims.of(id), reservation).map(({ address }) => formatAddress(address)),
    del: async id => claims.release(id),
    pass: milliseconds => {
      claims.now += milliseconds;
    },
    taken: () => [...claims.taken.keys()].sort(),
    loseRecord: id => void claims.unrecorded.add(id),
    assertOwned: owners => assert.deepEqual(claims.taken, owners),
    [Symbol.dispose]() {},
  };
}

function onDisk(): Network {
  const at = room();
  async function add(id: string, reservation: Reservation): Promise<readonly string[]> {
    using held = await adding(at.store, owner(id));
    const given = reserveOnDisk(held, reservation).map(({ address }) => formatAddress(address));
    held.append({ phase: 'ready' });
    return given;
  }
  return {
    add,
    async del(id) {
      using held = await existing(at.store, owner(id));
      const released = held ? release(held) : [];
      held?.remove();
      return released;
    },
    pass: at.pass,
    taken: () => contents(at.store).claims,
    loseRecord: id => unlinkSync(recordPath(at.store, owner(id))),
    refuseAgain: id => assert.rejects(add(id, from(one)), AlreadyReserved),
    assertOwned(owners) {
      const { claims } = networkFolders(at.store, network);
      for (const [address, id] of owners)
        assert.equal(statSync(join(claims, address)).ino, statSync(recordPath(at.store, owner(id))).ino);
    },
    [Symbol.dispose]: () => at[Symbol.dispose](),
  };
}

const one = poolsOf('10.0.0.0/29');
const both = poolsOf('10.0.0.0/29', 'fd00::/64');
const all = [2, 3, 4, 5, 6].map(n => `10.0.0.${n}`);

const proofs: readonly (readonly [sentence: string, proof: (net: Network) => Promise<void>])[] = [
  [
    'addresses go round: a released one is last in turn',
    async net => {
      const given: string[] = [];
      for (let i = 0; i < 8; i++) {
        given.push(...(await net.add(`p${i}`, from(one))));
        await net.del(`p${i}`);
        net.pass(61_000);
      }
      assert.deepEqual(
        given,
        [2, 3, 4, 5, 6, 2, 3, 4].map(n => `10.0.0.${n}`),
      );
    },
  ],
  [
    'an address rests while others are free, and no longer than that',
    async net => {
      for (const id of ['a', 'b', 'c', 'd', 'e']) await net.add(id, from(one));
      for (const id of ['d', 'a', 'c']) {
        await net.del(id);
        net.pass(1000);
      }
      assert.deepEqual(await net.add('f', from(one)), ['10.0.0.5'], 'all are in cooldown: the one released first');
      net.pass(58_500);
      assert.deepEqual(await net.add('g', from(one)), ['10.0.0.2'], 'rested by now, unlike the one before it in turn');
      assert.deepEqual(await net.add('h', from(one)), ['10.0.0.4'], 'the last one, though in cooldown');
    },
  ],
  [
    'a pool that is empty says which, how large, and how many are taken',
    async net => {
      for (const id of ['a', 'b', 'c', 'd', 'e']) await net.add(id, from(one));
      await assert.rejects(
        net.add('f', from(one)),
        error =>
          error instanceof PoolExhausted &&
          error.pool === '10.0.0.1-10.0.0.6' &&
          error.size === 5n &&
          error.taken === 5 &&
          error.message === 'Cannot reserve an address in 10.0.0.1-10.0.0.6: all 5 are gone, 5 taken by attachments',
      );
      assert.deepEqual(net.taken(), all);
    },
  ],
  [
    'where the second pool is empty, the first gets its address back',
    async net => {
      const pools = poolsOf('10.0.0.0/24', 'fd00::/126');
      await net.add('a', from(pools));
      await net.add('b', from(pools));
      await assert.rejects(net.add('c', from(pools)), PoolExhausted);
      assert.deepEqual(net.taken(), ['10.0.0.2', '10.0.0.3', 'fd00::2', 'fd00::3']);
    },
  ],
  [
    'an address asked for is given, the rest comes in turn',
    async net => {
      assert.deepEqual(await net.add('a', from(both, ['fd00::77'])), ['10.0.0.2', 'fd00::77']);
      assert.deepEqual(await net.add('b', from(both, ['10.0.0.6'])), ['10.0.0.6', 'fd00::2']);
      assert.deepEqual(await net.add('c', from(both)), ['10.0.0.3', 'fd00::3'], 'a request moves no turn');
    },
  ],
  [
    'an address asked for that is taken is refused with its holder, and nothing else is taken',
    async net => {
      await net.add('a', from(both, ['fd00::77']));
      await assert.rejects(
        net.add('b', from(both, ['10.0.0.5', 'fd00::77'])),
        error =>
          error instanceof AddressRefused && /Cannot reserve fd00::77: taken by container a eth0/.test(error.message),
      );
      await assert.rejects(net.add('b', from(both, ['10.0.0.5', '172.16.0.1'])), AddressRefused);
      assert.equal(net.taken().length, 2);
    },
  ],
  [
    'an address asked for need not be rested',
    async net => {
      await net.add('a', from(one, ['10.0.0.4']));
      await net.del('a');
      assert.deepEqual(await net.add('b', from(one, ['10.0.0.4'])), ['10.0.0.4']);
    },
  ],
  [
    'an address that is in use without a claim is passed over, and counted when nothing is left',
    async net => {
      const isBusy = ({ value }: { value: bigint }) => value !== parseAddress('10.0.0.4')!.value;
      assert.deepEqual(await net.add('a', { ...from(one), isBusy }), ['10.0.0.4']);
      await assert.rejects(
        net.add('b', { ...from(one), isBusy }),
        error => error instanceof PoolExhausted && error.taken === 1 && error.busy === 4,
      );
      await assert.rejects(
        net.add('b', { ...from(one, ['10.0.0.5']), isBusy }),
        /10\.0\.0\.5: this node has a route to it/,
      );
    },
  ],
  [
    'an empty pool takes back what no record owns, and only that',
    async net => {
      for (const id of ['a', 'b', 'c', 'd', 'e']) await net.add(id, from(one));
      net.loseRecord('c');
      assert.deepEqual(await net.add('f', from(one)), ['10.0.0.4']);
      await assert.rejects(net.add('g', from(one)), PoolExhausted);
    },
  ],
];

const step = fc.oneof(
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('add' as const), id: fc.nat(9) }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('del' as const), id: fc.nat(9) }) },
  {
    weight: 2,
    arbitrary: fc.record({ kind: fc.constant('wait' as const), time: fc.integer({ min: 1, max: 90_000 }) }),
  },
);
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

/** Whatever comes and goes: an address has one owner, rests as long as it can, and none gets lost. */
async function holds(open: () => Network, steps: readonly Step[]): Promise<void> {
  using net = open();
  const owners = new Map<string, string>();
  const releasedAt = new Map<string, number>();
  let now = 0;
  for (const step of steps) {
    if (step.kind === 'wait') {
      now += step.time;
      net.pass(step.time);
      continue;
    }
    const id = `p${step.id}`;
    const mine = [...owners].find(([, who]) => who === id)?.[0];
    if (step.kind === 'del') {
      assert.deepEqual(await net.del(id), mine === undefined ? [] : [mine]);
      if (mine === undefined) continue;
      owners.delete(mine);
      releasedAt.set(mine, now);
      continue;
    }
    if (mine !== undefined) {
      await net.refuseAgain?.(id);
      continue;
    }
    const free = all.filter(address => !owners.has(address));
    if (free.length === 0) {
      await assert.rejects(net.add(id, from(one)), PoolExhausted);
      continue;
    }
    const [given] = await net.add(id, from(one));
    assert.ok(given !== undefined && free.includes(given));
    const rest = (address: string) => now - (releasedAt.get(address) ?? Number.NEGATIVE_INFINITY);
    if (rest(given) < 60_000) assert.equal(rest(given), Math.max(...free.map(rest)));
    owners.set(given, id);
  }
  assert.deepEqual(net.taken(), [...owners.keys()].sort());
  net.assertOwned(owners);
}

for (const [place, open, numRuns] of [
  ['in memory', inMemory, 500],
  ['on disk', onDisk, 60],
] as const)
  suite(place, () => {
    for (const [sentence, proof] of proofs)
      test(sentence, async () => {
        using net = open();
        await proof(net);
      });
    test('whatever comes and goes: an address has one owner, rests as long as it can, and none gets lost', () =>
      fc.assert(
        fc.asyncProperty(fc.array(step, { maxLength: 40 }), steps => holds(open, steps)),
        { numRuns },
      ));
  });

/** Between the look at the pool and the claim, other calls take addresses. */
const races: readonly (readonly [
  sentence: string,
  pools: readonly Pool[],
  lost: string[],
  given: string | undefined,
])[] = [
  ['another call is faster once', one, ['10.0.0.2'], '10.0.0.3'],
  ['others are faster but for the last address', one, all.slice(0, 4), '10.0.0.6'],
  ['others take all of it', one, all, undefined],
];
for (const [sentence, pools, lost, given] of races)
  test(`an address has one holder where ${sentence}`, () => {
    const claims = new MapClaims();
    const take = () => reserve(claims.of('a', new Set(lost)), from(pools)).map(({ address }) => formatAddress(address));
    if (given === undefined) assert.throws(take, PoolExhausted);
    else assert.deepEqual(take(), [given]);
    assert.equal(new Set(claims.taken.values()).size, given === undefined ? 1 : 2);
  });
