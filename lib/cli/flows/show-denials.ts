/**
 * What is denied from now on: by the record of an agent, where one records flows, else by the node's log. Only one process can
 * read that log, and an agent keeps what it reads: so this one waits for an agent that begins, and leaves the log to one that
 * comes.
 */
import { setTimeout as pause } from 'node:timers/promises';
import type { Entry } from '../../flows/model.ts';
import { type Exit, exit, UsageError, warn } from '../command.ts';
import { type LiveArguments, openLive } from '../live-node.ts';
import { denialPrinters } from './denied-lines.ts';
import { Follower } from './follower.ts';
import type { Listening } from './listening.ts';
import { followRecorded, type Recording, recordingOf } from './recorded.ts';
import { watchDenied } from './watch-denied.ts';

export const DENIED = 'verdict:denied';

/** Milliseconds between two looks for an agent; and for how long one that begins to record is waited for. */
const LOOK = 500;
const BEGINNING = 10_000;

/** As `flows --denied` shows it where the node's log is read. */
function printDenied(entry: Entry, output: string): void {
  const { flow, sum } = denialPrinters[output]!;
  if (entry.kind === 'sum') sum(entry);
  if (entry.kind !== 'flow') return;
  const direction = entry.egress?.allowed === false ? 'egress' : 'ingress';
  const { time, from, to, protocol, sourcePort, port } = entry;
  flow({
    ...{ time, direction, from: from.name, to: to.name, source: from.address, destination: to.address },
    ...{ protocol, sourcePort, port, by: entry[direction]?.by ?? [] },
  });
}

/** Waits for an agent that begins, for a while: it may itself wait for an API that is away. @returns whether one records */
export async function awaitRecorder(
  recording: () => Promise<Recording>,
  stop: AbortSignal,
  patience = BEGINNING,
): Promise<boolean> {
  for (let waited = 0; ; waited += LOOK) {
    const found = await recording();
    if (found !== 'begins' || waited >= patience || stop.aborted) return found === 'records';
    await pause(LOOK);
  }
}

/** Aborted once an agent records. */
function recorderComes(runDir: string): Disposable & { readonly signal: AbortSignal } {
  const come = new AbortController();
  const over = new AbortController();
  const look = async (): Promise<void> => {
    // An agent that stands still reads no log.
    if ((await recordingOf(runDir).catch(() => 'none')) === 'records') come.abort();
    else if (!over.signal.aborted) timer = setTimeout(look, LOOK).unref();
  };
  let timer = setTimeout(look, LOOK).unref();
  return {
    signal: come.signal,
    [Symbol.dispose]() {
      over.abort();
      clearTimeout(timer);
    },
  };
}

interface DenialOptions extends LiveArguments {
  readonly output: string;
}

async function followAgent({ runDir, output }: DenialOptions, filter: string, listening: Listening): Promise<void> {
  const follower = new Follower(true);
  await followRecorded(
    runDir,
    { filter },
    ({ entries }) => {
      for (const entry of entries) if (follower.isNews(entry)) printDenied(entry, output);
    },
    listening,
  );
}

/** @returns whether an agent reads the log from now on */
async function readLog(options: DenialOptions, { begun, stop }: Listening): Promise<boolean> {
  using live = openLive(options, warn);
  if (!live.found) throw new Error('Cannot show flows: no pod is plugged in in this network namespace');
  const { runDir, output } = options;
  const { nflogGroup: group } = live.found.settings;
  using agent = recorderComes(runDir);
  try {
    const until = { begun, stop: AbortSignal.any([stop, agent.signal]) };
    await watchDenied(live, { group, runDir }, denialPrinters[output]!, until);
  } catch (error) {
    // An agent was quicker.
    if ((await recordingOf(runDir)) === 'records') return true;
    throw error;
  }
  return agent.signal.aborted && !stop.aborted;
}

/** Until the signal. @throws Error, which names another process that holds the log */
export async function showDenials(options: DenialOptions, filter: string, listening: Listening): Promise<Exit> {
  const { runDir } = options;
  while (!(await awaitRecorder(() => recordingOf(runDir), listening.stop))) {
    if (filter !== DENIED)
      throw new UsageError('Cannot filter here: only an agent that records flows can (tollgate agent --flows)');
    if (!(await readLog(options, listening))) return exit.yes;
  }
  await followAgent(options, filter, listening);
  return exit.yes;
}
