/** The launcher as a runtime finds it, with a script in tollgate-node's place. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, copyFileSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { scratchFolder } from './scratch.ts';

const launcher = fileURLToPath(new URL('../../dist/tools/launcher', import.meta.url));
export const folder = scratchFolder('launcher');

export const verbs = ['ADD', 'DEL', 'CHECK', 'GC', 'STATUS'] as const;
export const config = '{"cniVersion":"1.0.0","name":"net"}';

/** Stands in for tollgate-node: notes how it was called. VERSION's stdin must not be read, for a runtime may leave it open. */
const standIn = `#!/bin/sh
folder=\${0%/*}
for argument; do echo "$argument"; done >"$folder/arguments"
env >"$folder/environment"
[ "$CNI_COMMAND" = VERSION ] || cat >"$folder/stdin"
echo >>"$folder/runs"
echo from node
`;

export interface Place {
  /** The launcher's path. */
  readonly launcher: string;
  readonly path: (name: string) => string;
}

/** A folder as of `tollgate install`. @param line of tollgate.rundir, if any @param options.node runs in tollgate-node's place */
export function place(line: string | undefined, { name = 'tollgate', node = standIn } = {}): Place {
  const made = mkdtempSync(join(folder, 'bin-'));
  const path = (file: string): string => join(made, file);
  copyFileSync(launcher, path(name));
  writeFileSync(path('tollgate-node'), node);
  chmodSync(path('tollgate-node'), 0o755);
  if (line !== undefined) writeFileSync(path('tollgate.rundir'), line);
  return { launcher: path(name), path };
}

interface Options {
  readonly stdin?: string | Uint8Array;
  readonly args?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

export const environment = (verb: string | undefined, more: Options['env'] = {}): Record<string, string> => ({
  PATH: '/usr/bin:/bin',
  ...(verb === undefined ? {} : { CNI_COMMAND: verb }),
  CNI_CONTAINERID: 'c1',
  TRACEPARENT: '00-ü',
  ...more,
});

export function start({ launcher }: Place, verb: string | undefined, { args = [], env }: Options = {}): ChildProcess {
  return spawn(launcher, [...args], { env: environment(verb, env), stdio: 'pipe' });
}

export interface Ended {
  readonly exit: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

export async function end(child: ChildProcess): Promise<Ended> {
  const out: Buffer[] = [];
  const err: Buffer[] = [];
  child.stdout!.on('data', (piece: Buffer) => out.push(piece));
  child.stderr!.on('data', (piece: Buffer) => err.push(piece));
  const [exit, signal] = (await once(child, 'close')) as [number | null, NodeJS.Signals | null];
  return { exit, signal, stdout: Buffer.concat(out).toString(), stderr: Buffer.concat(err).toString() };
}

export function call(where: Place, verb: string | undefined, options: Options = {}): Promise<Ended> {
  const child = start(where, verb, options);
  child.stdin!.on('error', () => {});
  child.stdin!.end(options.stdin ?? config);
  return end(child);
}

/** tollgate-node has carried the call out, once, and has all of it. */
export function assertRunByNode({ path }: Place, ended: Ended, stdin: string | Uint8Array = config): string[] {
  assert.deepEqual(ended, { exit: 0, signal: null, stdout: 'from node\n', stderr: '' });
  assert.equal(readFileSync(path('runs'), 'latin1'), '\n');
  assert.ok(readFileSync(path('stdin')).equals(Buffer.from(stdin)), 'tollgate-node has read another stdin');
  const env = readFileSync(path('environment'), 'utf8').split('\n');
  assert.ok(env.includes('TRACEPARENT=00-ü') && env.includes('CNI_CONTAINERID=c1'), env.join(' '));
  return readFileSync(path('arguments'), 'utf8').split('\n').slice(0, -1);
}
