/** Listens in on every file operation of lib/state, and may let one fail: how tests count syscalls and stage deaths. */
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';

const operations = [
  'accessSync',
  'closeSync',
  'existsSync',
  'fstatSync',
  'ftruncateSync',
  'futimesSync',
  'linkSync',
  'lstatSync',
  'mkdirSync',
  'openSync',
  'readdirSync',
  'readFileSync',
  'readSync',
  'renameSync',
  'rmSync',
  'statfsSync',
  'statSync',
  'unlinkSync',
  'writeFileSync',
  'writeSync',
] as const;

export type Operation = (typeof operations)[number];

/** The operation itself is `run`, with other arguments if any: a listener may refuse it, change it, or act around it. */
export type Listener = (
  operation: Operation,
  args: readonly unknown[],
  run: (...others: readonly unknown[]) => unknown,
) => unknown;

/** Until disposed of, every file operation of this process goes by way of the listener. */
export function tapFs(listener: Listener): Disposable {
  const originals = new Map(operations.map(name => [name, fs[name] as (...args: unknown[]) => unknown]));
  let inside = false;
  for (const [name, original] of originals) {
    Reflect.set(fs, name, (...args: unknown[]) => {
      // Calls that Node's own implementation makes are part of the same operation.
      if (inside) return original(...args);
      return listener(name, args, (...others) => {
        inside = true;
        try {
          return original(...(others.length > 0 ? others : args));
        } finally {
          inside = false;
        }
      });
    });
  }
  syncBuiltinESMExports();
  return {
    [Symbol.dispose]() {
      for (const [name, original] of originals) Reflect.set(fs, name, original);
      syncBuiltinESMExports();
    },
  };
}

/** Runs `action`. @returns the number of calls of each operation meanwhile */
export async function countFs(action: () => unknown): Promise<ReadonlyMap<Operation, number>> {
  const counts = new Map<Operation, number>();
  using _ = tapFs((operation, _args, run) => {
    counts.set(operation, (counts.get(operation) ?? 0) + 1);
    return run();
  });
  await action();
  return counts;
}
