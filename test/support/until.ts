/** Waiting for what comes about, in place of sleeping. */
import { setTimeout as delay } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';

/**
 * Milliseconds: what takes seconds has room on a machine that is a hundred times slower. Programs of other tests wait for the
 * same locks of the kernel.
 */
export const PATIENCE = 900_000;

/** Waits until `found` gives something but undefined and false. */
export async function until<T>(
  what: string,
  found: () => T | Promise<T>,
  deadline = PATIENCE,
): Promise<NonNullable<T>> {
  const start = performance.now();
  for (;;) {
    const value = await found();
    if (value !== undefined && value !== null && value !== false) return value;
    const waited = performance.now() - start;
    if (waited > deadline) throw new Error(`Cannot wait longer than ${deadline} ms for ${what}`);
    // Many a look is a process, and takes the processor from what it waits for.
    await delay(Math.min(5 + waited / 20, 100));
  }
}

/** The first reading that equals what is expected; the last one in time where none does. Errors of `read` are the caller's. */
export async function eventually<T>(expected: T, read: () => Promise<T>, deadline = PATIENCE): Promise<T> {
  for (const start = performance.now(); ; await delay(100)) {
    const value = await read();
    if (isDeepStrictEqual(value, expected) || performance.now() - start > deadline) return value;
  }
}
