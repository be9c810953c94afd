/** Running another plugin as our IPAM (CNI spec, section 4): the only place where the CNI path starts a process. */
import { accessSync, constants, statSync } from 'node:fs';
import {
  checkDelegateExit,
  type DelegateCall,
  type DelegateExit,
  delegateCandidates,
  delegateEnvironment,
  delegateMissing,
  readIpamResult,
} from '../cni/delegate.ts';
import type { Environment } from '../cni/request.ts';
import type { Result } from '../cni/result.ts';

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}

/** The delegate's file. @throws CniError where CNI_PATH has none */
export function findDelegate(type: string, path: readonly string[]): string {
  const found = delegateCandidates(type, path).find(isExecutable);
  if (found === undefined) throw delegateMissing(type, path);
  return found;
}

export interface Delegation {
  readonly call: DelegateCall;
  readonly env: Environment;
  readonly path: readonly string[];
  /** The whole configuration, to the byte. */
  readonly stdin: string;
  readonly log: (line: string) => void;
  /** Ends it at once: its caller no longer waits, and is to be undone. */
  readonly signal?: AbortSignal | undefined;
}

const defined = (env: Environment): NodeJS.ProcessEnv =>
  Object.fromEntries(Object.entries(env).filter(([, value]) => value !== undefined));

async function run({ call, env, path, stdin, log, signal }: Delegation): Promise<DelegateExit> {
  const file = findDelegate(call.type, path);
  signal?.throwIfAborted();
  const { spawn } = process.getBuiltinModule('node:child_process');
  const child = spawn(file, [], { env: defined(delegateEnvironment(env, call.verb)), stdio: ['pipe', 'pipe', 'pipe'] });
  const output = { stdout: '', stderr: '' };
  child.stdout.setEncoding('utf8').on('data', text => {
    output.stdout += text;
  });
  child.stderr.setEncoding('utf8').on('data', text => {
    output.stderr += text;
  });
  // A delegate that does not read its stdin is no failure of ours.
  child.stdin.on('error', () => {}).end(stdin);
  const kill = (): void => void child.kill('SIGKILL');
  signal?.addEventListener('abort', kill, { once: true });
  const exit = await new Promise<DelegateExit>((resolve, reject) => {
    child.on('error', reject);
    // A child of its own may hold its output open.
    child.on('exit', () => signal?.aborted && reject(signal.reason));
    child.on('close', (exitCode, signal) => resolve({ exitCode, ...(signal ? { signal } : {}), ...output }));
  });
  signal?.removeEventListener('abort', kill);
  if (exit.stderr !== '') log(exit.stderr.trimEnd());
  return exit;
}

/** @throws CniError what the delegate said, or that there is none */
export async function delegateAdd(delegation: Delegation): Promise<Result> {
  return readIpamResult(delegation.call, await run(delegation));
}

/** DEL, CHECK, GC or STATUS. @throws CniError */
export async function delegateVerb(delegation: Delegation): Promise<void> {
  checkDelegateExit(delegation.call, await run(delegation));
}
