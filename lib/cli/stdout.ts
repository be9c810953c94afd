/** What becomes of a command whose answer nothing takes: a full disk, or a reader that has closed its pipe. */
import { errnoOf } from '../state/error.ts';
import { exit, warn } from './command.ts';

/**
 * Ends the process with `failed` where an answer could not be written, whatever the command itself came to: half a list must not
 * count as one. `tollgate pods | head` is fine: the reader had enough.
 */
export function watchStdout(): void {
  process.stdout.on('error', error => {
    if (errnoOf(error) === 'EPIPE') return;
    warn(`Cannot write the answer to stdout: ${error.message}`);
    process.once('exit', () => {
      process.exitCode = exit.failed;
    });
  });
}

/** Calls it once nothing that is written to stdout arrives any more: for commands that go on until they are interrupted. */
export function onceUnheard(end: () => void): Disposable {
  process.stdout.once('error', end);
  return { [Symbol.dispose]: () => void process.stdout.off('error', end) };
}
