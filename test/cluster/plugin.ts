/** `kubectl tollgate` as an administrator types it: the executable under a name that kubectl finds. */
import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { tollgate } from '../support/places.ts';
import { adminConfig } from './control.ts';
import { kubernetes, scratch } from './daemon.ts';

export interface Said {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Where kubectl finds it, and where it runs. */
export const pluginFolder = join(scratch, 'kubectl-tollgate');

export function spawnPlugin(...words: readonly string[]): ChildProcessByStdio<Writable, Readable, Readable> {
  mkdirSync(pluginFolder, { recursive: true });
  const link = join(pluginFolder, 'kubectl-tollgate');
  try {
    symlinkSync(tollgate, link);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  }
  const env = { PATH: `${pluginFolder}:${kubernetes}:${process.env['PATH']}`, KUBECONFIG: adminConfig };
  return spawn(`${kubernetes}/kubectl`, ['tollgate', ...words], { env, cwd: pluginFolder, stdio: 'pipe' });
}

export async function plugin(...words: readonly string[]): Promise<Said> {
  const child = spawnPlugin(...words);
  const [stdout, stderr] = [text(child.stdout), text(child.stderr)];
  const [status] = (await once(child, 'close')) as [number | null];
  return { status, stdout: await stdout, stderr: await stderr };
}
