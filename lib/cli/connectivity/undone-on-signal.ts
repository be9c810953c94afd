import { exit } from '../command.ts';

/** Undoes the test when a person or a supervisor ends the process, for as long as this is not disposed of. */
export function undoneOnSignal(test: AsyncDisposable): Disposable {
  const signals = ['SIGINT', 'SIGTERM'] as const;
  const end = (): never => process.exit(exit.failed);
  const stop = (): void => void test[Symbol.asyncDispose]().then(end, end);
  for (const signal of signals) process.once(signal, stop);
  return {
    [Symbol.dispose]() {
      for (const signal of signals) process.off(signal, stop);
    },
  };
}
