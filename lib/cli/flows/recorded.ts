/** Asks an agent that records flows, on its socket. */
import { request } from 'node:http';
import { messageOf } from '../../cni/error.ts';
import { agentSocket } from '../../controller/http-server.ts';
import type { Entry, LiveMessage } from '../../flows/model.ts';
import type { SumKind, SumRow } from '../../flows/sums.ts';
import { AgentRefusal, askAgent, askAgentText, standstillOf, unanswered, untilSilent } from '../ask-agent.ts';
import { UsageError } from '../command.ts';
import type { Listening } from './listening.ts';

/** Flows that are listed, unless another number or a time is asked for. */
export const LAST = 50;

/** Selects flows; a field that is absent narrows nothing. */
export interface FlowQuery {
  readonly filter: string;
  /** Seconds since 1970. */
  readonly since?: number | undefined;
  readonly last?: number | undefined;
  /** Open flows with their bytes of now. */
  readonly isCounted?: boolean;
}

const queryText = ({ filter, since, last, isCounted = false }: FlowQuery): string =>
  new URLSearchParams({
    filter,
    ...(since === undefined ? {} : { since: String(since) }),
    ...(last === undefined ? {} : { last: String(last) }),
    ...(isCounted ? { counted: '1' } : {}),
  }).toString();

const instead =
  'start it with `tollgate agent --flows`; `tollgate flows --denied` needs none, and shows what is denied from now on';

/** @throws Error where the agent is there, but stands still */
function refuseStandstill(error: unknown): void {
  const still = standstillOf(error);
  if (still) throw new Error(`Cannot show flows: ${messageOf(error)}`, { cause: still });
}

/** @throws Error where no agent of this node records flows; UsageError where the agent does not understand the filter */
async function asked<T>(ask: () => Promise<T>): Promise<T> {
  try {
    return await ask();
  } catch (error) {
    refuseStandstill(error);
    const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
    if (cause instanceof AgentRefusal && cause.status === 400) throw new UsageError(cause.why);
    if (cause instanceof AgentRefusal && cause.status >= 500)
      throw new Error(`Cannot show flows: ${cause.why}`, { cause });
    const why = cause instanceof AgentRefusal && cause.status === 404 ? 'it runs without --flows' : messageOf(cause);
    throw new Error(`Cannot show flows: no agent of this node records them (${why}): ${instead}`, { cause });
  }
}

/** In the order of time. */
export async function listRecorded(runDir: string, query: FlowQuery): Promise<readonly Entry[]> {
  const text = await asked(() => askAgentText(runDir, 'GET', `/flows?${queryText(query)}`));
  return text
    .split('\n')
    .filter(line => line !== '')
    .map(line => JSON.parse(line) as Entry);
}

export const sumRecorded = (
  runDir: string,
  by: SumKind,
  { filter, since }: Pick<FlowQuery, 'filter' | 'since'>,
): Promise<readonly SumRow[]> => {
  const query = queryText({ filter, since });
  return asked(() => askAgent<readonly SumRow[]>(runDir, 'GET', `/flows/sum?by=${by}&${query}`));
};

/** With the token in it. @throws Error where no page is shown */
export const uiLink = async (runDir: string): Promise<string> => await askAgentText(runDir, 'GET', '/flows/ui');

/** What the agent of this node does with flows; `none` where no agent is there, or it will record none. */
export type Recording = 'records' | 'begins' | 'none';

/** @throws Error where an agent is there, but stands still */
export async function recordingOf(runDir: string): Promise<Recording> {
  try {
    await askAgentText(runDir, 'GET', '/flows/status');
    return 'records';
  } catch (error) {
    refuseStandstill(error);
    const cause = error instanceof Error ? error.cause : undefined;
    return cause instanceof AgentRefusal && cause.status === 503 ? 'begins' : 'none';
  }
}

/** Whether conntrack counts bytes on the agent's node. */
export async function countsBytes(runDir: string): Promise<boolean> {
  const { conntrack } = await asked(() =>
    askAgent<{ readonly conntrack: { readonly counts: boolean } }>(runDir, 'GET', '/flows/status'),
  );
  return conntrack.counts;
}

/**
 * Follows flows until the signal: from now on, after what has been where the query says how much of it. Between the two
 * nothing is missing; a flow that changes meanwhile may come once more.
 * @throws Error where the agent ends
 */
export async function followRecorded(
  runDir: string,
  query: FlowQuery,
  take: (message: LiveMessage) => void,
  { begun, stop }: Listening,
): Promise<void> {
  if (stop.aborted) return;
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const path = `/flows/live?${queryText(query)}`;
  const sent = request({ socketPath: agentSocket(runDir), path, agent: false, signal: stop }, answer => {
    let rest = '';
    if (answer.statusCode === 200) begun();
    answer.setEncoding('utf8').on('data', (chunk: string) => {
      if (answer.statusCode !== 200) {
        reject(new AgentRefusal(answer.statusCode ?? 0, chunk.trim()));
        return;
      }
      const messages = (rest + chunk).split('\n\n');
      rest = messages.pop() ?? '';
      for (const message of messages) take(JSON.parse(message.replace(/^data: /, '')) as LiveMessage);
    });
    answer.on('end', () => reject(new Error('the agent has ended'))).on('error', reject);
  });
  untilSilent(sent)
    .on('error', error => reject(unanswered(runDir, error)))
    .end();
  stop.addEventListener('abort', () => resolve(), { once: true });
  await asked(() => promise);
}
