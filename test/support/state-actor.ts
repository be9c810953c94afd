/** A process of its own that uses a store, for the tests that need several, or one that dies. */
import assert from 'node:assert/strict';
import { parseAddress } from '../../lib/ip/address.ts';
import { PoolExhausted } from '../../lib/ipam/error.ts';
import { lockAttachment } from '../../lib/state/attachment.ts';
import { holds, release } from '../../lib/state/claims.ts';
import { reserve } from '../../lib/state/disk-claims.ts';
import { StateError } from '../../lib/state/error.ts';
import { collectOrphans } from '../../lib/state/leftovers.ts';
import { listAttachments } from '../../lib/state/listed.ts';
import { openStore, type Store } from '../../lib/state/store.ts';
import { random } from './random.ts';
import { adding, contents, existing, from, network, owner, poolsOf } from './state-room.ts';

const say = (value: unknown) => process.stdout.write(`${JSON.stringify(value)}\n`);

/** Does what an ADD does to the store. @returns addresses, or the kind of error */
async function add(store: Store, id: string, subnets: string[]): Promise<readonly string[] | string> {
  try {
    using held = await adding(store, owner(id));
    try {
      reserve(held, from(poolsOf(...subnets)));
      held.append({ phase: 'ready' });
      return held.facts.addresses ?? [];
    } catch (error) {
      release(held);
      held.remove();
      throw error;
    }
  } catch (error) {
    if (error instanceof PoolExhausted) return error.name;
    if (error instanceof StateError) return error.code;
    throw error;
  }
}

async function del(store: Store, id: string): Promise<readonly string[] | string> {
  try {
    using held = await existing(store, owner(id));
    const released = held ? release(held) : [];
    held?.remove();
    return released;
  } catch (error) {
    if (error instanceof StateError) return error.code;
    throw error;
  }
}

/** Comes and goes until it is killed, and looks whether what it holds is really its own. */
async function churn(store: Store, id: string, subnets: string[], chance: () => number): Promise<never> {
  for (let i = 0; ; i++) {
    const whose = owner(`${id}-${i % 3}`);
    if (chance() < 0.5) {
      const given = await add(store, whose.containerID, subnets).catch(error => {
        // The actor's previous process may have died before or after it had reserved the addresses.
        if (error instanceof Error && error.name === 'AlreadyReserved') return [];
        throw error;
      });
      assert.ok(given === 'PoolExhausted' || Array.isArray(given), String(given));
    }
    const locked = await lockAttachment(store, whose, { timeoutMs: 30_000 });
    if (!locked) continue;
    using held = locked.attachment;
    const addresses = held.facts.addresses ?? [];
    if (held.facts.phase === 'ready') {
      assert.equal(held.claimCount, subnets.length, 'one claim for each pool');
      for (const address of addresses) assert.ok(holds(held, parseAddress(address)!), `${address} was stolen`);
    }
    // Here are no links by which GC would know that a DEL died, so the record says that it is unfinished.
    held.append({ phase: 'adding' });
    release(held);
    assert.equal(held.claimCount, 0);
    held.remove();
  }
}

/** Undoes what others leave half done, until it is killed. */
async function sweep(store: Store): Promise<never> {
  for (;;) {
    collectOrphans(store, network);
    for (const { owner: whose, facts } of listAttachments(store, network)) {
      if (facts.phase === 'ready') continue;
      const locked = whose && (await lockAttachment(store, whose, { timeoutMs: 30_000 }));
      if (!locked) continue;
      using held = locked.attachment;
      if (held.facts.phase === 'ready') continue;
      release(held);
      held.remove();
    }
    await new Promise(resolve => setImmediate(resolve));
  }
}

const [verb = '', stateDir = '', id = '', ...rest] = process.argv.slice(2);
const subnets = rest.filter(argument => !argument.startsWith('seed='));
const seed = Number(rest.find(argument => argument.startsWith('seed='))?.slice('seed='.length) ?? 0);
const store = openStore(stateDir, { bootId: 'test' });
if (verb === 'race') {
  say('here');
  await new Promise(resolve => process.stdin.once('data', resolve));
  say(await add(store, id, subnets));
  process.stdin.destroy();
} else if (verb === 'add') say({ outcome: await add(store, id, subnets), ...contents(store) });
else if (verb === 'del') say({ outcome: await del(store, id), ...contents(store) });
else if (verb === 'churn') {
  say('here');
  await churn(store, id, subnets, random(seed));
} else if (verb === 'sweep') {
  say('here');
  await sweep(store);
} else throw new Error(`Unknown verb ${verb}`);
