import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { limitHeap, trimMemory } from '../../../lib/controller/memory.ts';

/** In a function of its own, so that no frame holds the object any more. */
const forgotten = (): WeakRef<object> => new WeakRef({ taken: 'by the start' });

test('what the start took is given back, and V8’s gc() is nobody else’s to call', async () => {
  limitHeap();
  const taken = forgotten();
  // A WeakRef holds its object until the turn ends in which it was made.
  await setImmediate();
  trimMemory();
  assert.equal(taken.deref(), undefined);
  assert.equal('gc' in globalThis, false);
});
