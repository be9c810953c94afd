import { readFileSync, writeSync } from 'node:fs';
import manifest from '../../package.json' with { type: 'json' };
import type { Role } from '../cni/request.ts';
import { answer } from './call.ts';
import { openHere } from './here.ts';

/** Runtimes copy stderr to their log; a closed one is no reason to fail. */
function log(line: string): void {
  try {
    writeSync(2, `${line}\n`);
  } catch {}
}

/**
 * One CNI call from this process's environment and stdin, answered on its stdout.
 * @returns the exit code; every failure is an error object on stdout, and nothing is thrown
 */
export async function plugin(role: Role): Promise<number> {
  const call = { env: process.env, readStdin: () => readFileSync(0, 'utf8'), role };
  const { stdout, exitCode } = await answer(call, { release: manifest.version, log, open: openHere });
  process.stdout.write(stdout);
  return exitCode;
}
