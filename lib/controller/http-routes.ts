/** The agent's HTTP routes: those for root, and those for every caller. */

import type { AgentStatus } from './agent-report.ts';
import { type HealthProblem, isUnhealthy, wantsRestart } from './health.ts';
import { type HttpResponse, type HttpRoutes, json, type QueryRoutes, reading } from './http-server.ts';
import { formatMetrics, type Metric } from './prometheus.ts';
import type { NodeMended } from './tending.ts';

const plain = (text: string, isFine = true): HttpResponse => ({ status: isFine ? 200 : 503, type: 'text/plain', text });
const lines = (texts: readonly string[]): string => texts.map(text => `${text}\n`).join('');

/** A List that `tollgate policy … -f` and kubectl read; joined piece by piece, since it may be a large one. */
function listOf(manifests: Iterable<object>): HttpResponse {
  const items: string[] = [];
  for (const manifest of manifests) items.push(JSON.stringify(manifest));
  return { type: 'application/json', text: `{"apiVersion":"v1","kind":"List","items":[\n${items.join(',\n')}\n]}\n` };
}

/** Fine where none of the problems is of that kind. */
function healthOf(problems: readonly HealthProblem[], isOfKind: (problem: HealthProblem) => boolean): HttpResponse {
  const failing = problems.filter(isOfKind).map(({ message }) => message);
  return plain(failing.length > 0 ? lines(failing) : 'ok\n', failing.length === 0);
}

/** Routes of a warm process without a cluster: it is healthy for as long as it answers. */
export const workerRoutes = (metrics: () => readonly Metric[]): HttpRoutes => ({
  'GET /metrics': () => plain(formatMetrics(metrics())),
  'GET /healthz': () => plain('ok\n'),
  'GET /livez': () => plain('ok\n'),
  'GET /readyz': () => plain('ok\n'),
});

/** The values that the routes read from an agent, and the work that they ask it to do. */
export interface AgentView {
  readonly metrics: readonly Metric[];
  readonly health: readonly HealthProblem[];
  readonly status: AgentStatus;
  readonly manifests: () => Iterable<object>;
  readonly drift: () => Promise<readonly string[]>;
  readonly mend: () => Promise<NodeMended>;
}

/** `metrics`: for every process of the node; `admin`: for root, who may ask for everything. */
export function agentRoutes(agent: AgentView): { readonly metrics: HttpRoutes; readonly admin: QueryRoutes } {
  const metrics: HttpRoutes = {
    'GET /metrics': () => plain(formatMetrics(agent.metrics)),
    // An agent that waits for the API is healthy; one that does not keep its node up to date is not.
    'GET /healthz': () => healthOf(agent.health, isUnhealthy),
    'GET /livez': () => healthOf(agent.health, wantsRestart),
    'GET /readyz': () => {
      const { isReady, waitsFor, problems } = agent.status;
      const told = problems.filter(problem => !waitsFor.includes(problem)).map(problem => `problem: ${problem}`);
      return plain(lines([isReady ? 'ok' : 'not ready', ...waitsFor, ...told]), isReady);
    },
  };
  return {
    metrics,
    admin: {
      ...metrics,
      'GET /status': reading([], () => json(agent.status)),
      'GET /manifests': reading([], () => listOf(agent.manifests())),
      'GET /drift': reading([], async () => json(await agent.drift())),
      'POST /mend': reading([], async () => json(await agent.mend())),
    },
  };
}
