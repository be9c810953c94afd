/** The agent's HTTP servers: one on a Unix socket for root, one for probes and Prometheus where an address is given. */
import type { Log } from '../rpc/log.ts';
import { type AgentView, agentRoutes } from './http-routes.ts';
import { type QueryRoutes, serveAdmin, serveMetrics, type TcpPlace } from './http-server.ts';

export interface AgentHttpOptions {
  readonly runDir: string;
  readonly metrics?: TcpPlace;
  readonly log: Log;
}

/** @param more routes for root */
export async function serveAgentHttp(
  agent: AgentView,
  options: AgentHttpOptions,
  more: QueryRoutes,
): Promise<Disposable> {
  const { runDir, metrics, log } = options;
  const routes = agentRoutes(agent);
  using undo = new DisposableStack();
  undo.use(await serveAdmin(runDir, { ...routes.admin, ...more }));
  if (metrics) undo.use(await serveMetrics(metrics, routes.metrics, log));
  return undo.move();
}
