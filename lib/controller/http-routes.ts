/** The agent's HTTP pages by path: those for root, and those for every caller. */

import type { KubernetesAgent } from './controller.ts';
import { type HealthProblem, isUnhealthy, wantsRestart } from './health.ts';
import type { HttpResponse, HttpRoutes } from './http-server.ts';
import { formatMetrics, type Metric } from './prometheus.ts';

const json = (value: unknown): HttpResponse => ({ type: 'application/json', text: `${JSON.stringify(value)}\n` });
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

/** What a warm process without a cluster shows: it is fine for as long as it answers. */
export const workerRoutes = (metrics: () => readonly Metric[]): HttpRoutes => ({
  'GET /metrics': () => plain(formatMetrics(metrics())),
  'GET /healthz': () => plain('ok\n'),
  'GET /livez': () => plain('ok\n'),
  'GET /readyz': () => plain('ok\n'),
});

/** What is asked of an agent. */
export type Shown = Pick<KubernetesAgent, 'metrics' | 'health' | 'status' | 'manifests' | 'drift' | 'mend'>;

export function agentRoutes(agent: Shown): { readonly toAll: HttpRoutes; readonly toRoot: HttpRoutes } {
  const toAll: HttpRoutes = {
    'GET /metrics': () => plain(formatMetrics(agent.metrics)),
    // What it waits for is not its fault: only a node that is not kept up to date is.
    'GET /healthz': () => healthOf(agent.health, isUnhealthy),
    'GET /livez': () => healthOf(agent.health, wantsRestart),
    'GET /readyz': () => {
      const { isReady, waitsFor, problems } = agent.status;
      const told = problems.filter(problem => !waitsFor.includes(problem)).map(problem => `problem: ${problem}`);
      return plain(lines([isReady ? 'ok' : 'not ready', ...waitsFor, ...told]), isReady);
    },
  };
  return {
    toAll,
    toRoot: {
      ...toAll,
      'GET /status': () => json(agent.status),
      'GET /manifests': () => listOf(agent.manifests()),
      'GET /drift': async () => json(await agent.drift()),
      'POST /mend': async () => json(await agent.mend()),
    },
  };
}
