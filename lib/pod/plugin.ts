import { existsSync, readFileSync, writeSync } from 'node:fs';
import manifest from '../../package.json' with { type: 'json' };
import { messageOf } from '../cni/error.ts';
import type { AttachmentRequest, Environment, NetworkRequest, Role } from '../cni/request.ts';
import { errnoOf } from '../state/error.ts';
import { printable } from '../tag/printable.ts';
import { answer, type CallPlace, type CallResult } from './call.ts';
import { openHere } from './here.ts';

/** Writes a line to stderr, which runtimes copy to their log; a closed stderr is no reason to fail. */
function log(line: string): void {
  try {
    writeSync(2, `${printable(line)}\n`);
  } catch {}
}

/**
 * Writes to stdout without `process.stdout`, which loads sockets and streams, and so takes longer than the writing.
 * A pipe that its reader made non-blocking may be full for a while. @returns whether all of it was written
 */
function print(text: string): boolean {
  const bytes = Buffer.from(text);
  for (let at = 0; at < bytes.length; ) {
    try {
      at += writeSync(1, bytes, at);
    } catch (error) {
      if (errnoOf(error) === 'EAGAIN') Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1);
      else {
        log(`Cannot answer on stdout: ${messageOf(error)}`);
        return false;
      }
    }
  }
  return true;
}

/** The agent of this folder, which has been asked already and did not take the call. */
export interface NotHandedOver {
  readonly runDir: string;
  /** Finishes the sentence "…, and no process listens on its socket". */
  readonly why: string;
}

/** A call for the agent, as plain values. */
export interface CallForAgent {
  readonly role: Role;
  readonly verb: (AttachmentRequest | NetworkRequest)['verb'];
  readonly env: Environment;
  readonly stdin: string;
  readonly enforcer: 'inline' | 'agent';
  readonly runDir: string;
  /** Seconds. */
  readonly enforceTimeout: number;
  /** Seconds. */
  readonly agentGrace: number;
  /** Why the agent does not take it, where that is known before it is asked. */
  readonly why?: string;
}

/** Hands a call to the agent; undefined where it is to be carried out here. */
export type HandOver = (
  call: CallForAgent,
) => Promise<(CallResult & { readonly lines: readonly string[] }) | undefined>;

/** Hands the call to the agent. Without an agent it costs one stat(2): the client is loaded where there may be one. */
const toAgent =
  (load: () => Promise<HandOver>, before: NotHandedOver | undefined): Required<CallPlace>['elsewhere'] =>
  async ({ verb, config }, call) => {
    const { enforcer, runDir, enforceTimeout, agentGrace } = config;
    const { kind } = enforcer;
    if (kind !== 'inline' && kind !== 'agent') return undefined;
    const why = before?.runDir === runDir ? { why: before.why } : {};
    if (kind === 'inline' && ('why' in why || !existsSync(`${runDir}/cni.sock`))) return undefined;
    const handOver = await load();
    const answered = await handOver({ ...call, verb, enforcer: kind, runDir, enforceTimeout, agentGrace, ...why });
    for (const line of answered?.lines ?? []) log(line);
    return answered;
  };

/**
 * One CNI call from this process's environment and stdin, answered on its stdout.
 * @param load gives the way to an agent
 * @param before what the launcher tried
 * @returns the exit code; every failure is an error object on stdout, and nothing is thrown
 */
export async function plugin(
  role: Role,
  load: () => Promise<HandOver>,
  before: NotHandedOver | undefined,
): Promise<number> {
  const call = { env: process.env, readStdin: () => readFileSync(0, 'utf8'), role };
  const { stdout, exitCode } = await answer(call, {
    release: manifest.version,
    log,
    open: ({ config }, env, say) => openHere(config, env, say),
    elsewhere: toAgent(load, before),
  });
  return print(stdout) ? exitCode : 1;
}
