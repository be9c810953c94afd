import type { AgentStatus } from '../controller/agent-report.ts';
import { heartbeatAge } from '../rpc/heartbeat.ts';
import { warmProcessOf } from '../rpc/listen.ts';
import { AgentRefusal, askAgent, standstillOf } from './ask-agent.ts';
import { command, counted, exit, outputOption, printJson, printLines, stagedText, warn } from './command.ts';
import { liveOptions } from './live-node.ts';

const seconds = (value: number | null): string => {
  if (value === null) return 'nothing yet';
  return Number.isFinite(value) ? `${value * 1000} ms` : 'more than 10 s';
};

const ageText = (age: number | undefined): string => (age === undefined ? 'never' : `${Math.round(age / 1000)} s ago`);

function statusLines(status: AgentStatus): readonly string[] {
  const { node, release, pid, server, isReady, waitsFor, problems, refused, beyondBudget, watches, eventToKernel } =
    status;
  const { p50, p99 } = eventToKernel;
  return [
    `Agent of node ${node}: release ${release}, process ${pid}, listening to ${server}`,
    isReady ? 'Ready: pods can be plugged in.' : 'Not ready.',
    ...waitsFor.map(what => `  waits for ${what}`),
    ...problems.map(what => `  problem: ${what}`),
    ...beyondBudget.map(policy => `  too large, so whom it selects is closed (see tollgate policy lint): ${policy}`),
    ...refused.map(policy => `  refused by the kernel, so whom it selects is closed: ${policy}`),
    ...(status.staged > 0 ? [`  ${stagedText(status.staged)}`] : []),
    `${counted(status.pods, 'pod')} here, of ${counted(status.identities, 'identity', 'identities')}`,
    `From an event to the kernel: half within ${seconds(p50)}, 99 of 100 within ${seconds(p99)}`,
    ...watches.map(({ resource, isUp, isAbsent, objects, age, losses, trouble }) => {
      const state = isAbsent ? 'not known to this API server' : isUp ? 'up' : `down${trouble ? ` (${trouble})` : ''}`;
      return `  ${resource}: ${state}, ${counted(objects, 'object')}, heard ${ageText(age)}, lost ${losses} times`;
    }),
  ];
}

/**
 * The end of the sentence about a process that did not tell its status: that it is a worker, which answers no question without
 * --flows; undefined where it is an agent of Kubernetes, or none runs.
 * @param away seconds since an agent was seen
 */
function workerIn(error: unknown, runDir: string, away: number): string | undefined {
  const cause = error instanceof Error ? error.cause : undefined;
  const worker = 'is a worker (agent --no-kubernetes)';
  if (cause instanceof AgentRefusal && cause.status === 404) return worker;
  const isSilent = !Number.isFinite(away) && !standstillOf(error) && warmProcessOf(runDir) !== undefined;
  return isSilent ? `${worker}, or has just begun` : undefined;
}

export const status = command(
  'status',
  'What the agent of this node knows, what it waits for, and how old that is',
  parser =>
    parser
      .options({ ...outputOption, 'run-dir': liveOptions['run-dir'] })
      .example('$0 status', 'on a node with `tollgate agent`')
      .example('$0 status -o json', 'for scripts: its keys are only ever added to')
      .epilog(
        'Exit code 0: pods can be plugged in; 1: not yet, or not any more; 3: there is no agent, or it does not answer.',
      ),
  async ({ runDir, output }) => {
    let found: AgentStatus;
    try {
      found = await askAgent<AgentStatus>(runDir, 'GET', '/status');
    } catch (error) {
      const away = heartbeatAge(runDir);
      const worker = workerIn(error, runDir, away);
      if (worker)
        throw new Error(
          `Cannot tell what an agent of Kubernetes knows: the warm process here ${worker}; see tollgate verify, tollgate policy list`,
          { cause: error },
        );
      warn(Number.isFinite(away) ? `an agent was last seen ${Math.round(away)} s ago` : 'no agent was ever seen here');
      throw error;
    }
    if (output === 'json') printJson(found);
    else printLines(statusLines(found));
    return found.isReady ? exit.yes : exit.no;
  },
);
