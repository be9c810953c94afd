/** The agent as a process on a host. */
import type { ChildProcess } from 'node:child_process';
import { readFileSync } from 'node:fs';
import type { Host } from './host.ts';
import { policies, runDir, stateDir, tollgate } from './places.ts';
import { until } from './until.ts';

export const socket = `${runDir}/cni.sock`;
export const command = [
  tollgate,
  'agent',
  '--no-kubernetes',
  '--run-dir',
  runDir,
  '--state-dir',
  stateDir,
  '--policies',
  policies,
  // Each call has a line.
  '--log-level',
  'debug',
];

export interface Line {
  readonly level: string;
  readonly message: string;
  readonly verb?: string;
  readonly code?: number;
  readonly pods?: number;
}

export interface Agent extends Disposable {
  readonly child: ChildProcess;
  readonly lines: readonly Line[];
  /** Calls of a verb that it has carried out. */
  readonly calls: (verb: string) => number;
  readonly said: (message: RegExp) => boolean;
}

/** Starts an agent, and returns when it serves. */
export async function startAgent(host: Host, args: readonly string[] = command): Promise<Agent> {
  const child = host.spawn(args);
  const lines: Line[] = [];
  let rest = '';
  child.stderr!.on('data', (chunk: Buffer) => {
    const all = (rest + chunk.toString()).split('\n');
    rest = all.pop()!;
    for (const line of all) lines.push(line.startsWith('{') ? JSON.parse(line) : { level: 'raw', message: line });
  });
  const agent: Agent = {
    child,
    lines,
    calls: verb => lines.filter(line => line.message === 'call' && line.verb === verb).length,
    said: message => lines.some(line => message.test(line.message)),
    [Symbol.dispose]: () => void child.kill('SIGKILL'),
  };
  await until('the agent to serve', () => {
    if (child.exitCode !== null) throw new Error(`The agent ended: ${JSON.stringify(lines)}${rest}`);
    return agent.said(/^serving$/);
  });
  return agent;
}

/** nflog group, reader's port, packets that wait, copy mode: 2 copies a packet's bytes. */
const READ_WHOLE = /^ *7467 +\d+ +\d+ 2 /m;

/** Resolves when a process on the host reads the log of denied packets: from then on an agent records every flow. */
export async function denialsAreHeard({ pid }: Host): Promise<void> {
  const readers = `/proc/${pid}/net/netfilter/nfnetlink_log`;
  await until('the log of denied packets to be read', () => READ_WHOLE.test(readFileSync(readers, 'latin1')));
}

/**
 * An agent that is there for as long as the host is; it serves when this returns.
 * @param lifetime milliseconds until it is killed, and started again at once; absent: it lives
 */
export async function keepAgent(host: Host, lifetime?: () => number): Promise<void> {
  const { child } = await startAgent(host);
  host.keep(child);
  if (!lifetime) return;
  setTimeout(() => child.kill('SIGKILL'), lifetime()).unref();
  child.once('exit', () => {
    if (host.isOver) return;
    keepAgent(host, lifetime).catch(error => {
      if (!host.isOver) throw error;
    });
  });
}
