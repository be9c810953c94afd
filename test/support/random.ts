/** Chance that can be had again: `SEED=… node --test …` with the number that a test has printed. */
import type { TestContext } from 'node:test';

/** Numbers from 0 up to 1 by a seed of 32 bits (mulberry32). */
export function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** The seed of the environment (`SEED`), else a new one. */
export const newSeed = (): number => Number(process.env['SEED'] ?? Math.floor(Math.random() * 2 ** 32));

/** The test's seed, which it prints. */
export function seedOf(test: Pick<TestContext, 'diagnostic'>): number {
  const seed = newSeed();
  test.diagnostic(`SEED=${seed}`);
  return seed;
}
