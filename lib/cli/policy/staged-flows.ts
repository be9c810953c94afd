/** How many connections staged policies would have denied or allowed, as the agent of this node has counted them. */

import { messageOf } from '../../cni/error.ts';
import type { StagedCounts, StagedFlows } from '../../flows/counts.ts';
import { AgentRefusal, askAgent, standstillOf } from '../ask-agent.ts';
import { counted } from '../command.ts';

export interface StagedAnswer {
  /** By policy: undefined where it is not known. */
  readonly of: (policy: string) => StagedFlows | undefined;
  /** For a person: since when they are counted and what is not in it, or why they are not counted. */
  readonly notes: readonly string[];
}

const unknown = (note: string): StagedAnswer => ({ of: () => undefined, notes: [note] });

const uncounted = (why: string): StagedAnswer =>
  unknown(`what staged policies would deny is not counted (${why}): start the agent with --flows`);

function answerOf({ since, unattributed, policies, isCut }: StagedCounts): StagedAnswer {
  const nothing = isCut ? undefined : { wouldDeny: 0, wouldAllow: 0 };
  const missing = counted(unattributed, 'connection was', 'connections were');
  return {
    of: policy => (Object.hasOwn(policies, policy) ? policies[policy] : nothing),
    notes: [
      `what staged policies would deny and allow is counted since ${new Date(since * 1000).toISOString()}`,
      ...(unattributed > 0 ? [`${missing} too fast for policies to be asked, and not counted`] : []),
      ...(isCut ? ['more policies than are counted one by one: a dash stands where it is not known'] : []),
    ],
  };
}

/** Where no agent of this node records flows, nothing is known: that is no zero. */
export async function askStagedFlows(runDir: string): Promise<StagedAnswer> {
  try {
    return answerOf(await askAgent<StagedCounts>(runDir, 'GET', '/flows/staged'));
  } catch (error) {
    if (standstillOf(error)) return unknown(`what staged policies would deny is not known: ${messageOf(error)}`);
    const { cause } = error as Error;
    const isBusy = cause instanceof AgentRefusal && cause.status !== 404;
    return uncounted(isBusy ? cause.why : 'no agent of this node records flows');
  }
}
