/** The agent's HTTP servers: one on a Unix socket for root, one for probes and Prometheus where an address is given. */
import { messageOf } from '../cni/error.ts';
import type { Log } from '../rpc/log.ts';
import { type AgentView, agentRoutes } from './http-routes.ts';
import { type QueryRoutes, serveAdmin, serveMetrics } from './http-server.ts';

export interface AgentHttpOptions {
  readonly runDir: string;
  readonly metrics?: { readonly host: string; readonly port: number };
  readonly log: Log;
}

/**
 * An address for metrics that is taken is logged, and keeps no pod from being plugged in.
 * @param more routes for root
 */
export async function serveAgentHttp(
  agent: AgentView,
  options: AgentHttpOptions,
  more: QueryRoutes,
): Promise<Disposable> {
  const { runDir, metrics, log } = options;
  const routes = agentRoutes(agent);
  using undo = new DisposableStack();
  undo.use(await serveAdmin(runDir, { ...routes.admin, ...more }));
  if (metrics)
    try {
      undo.use(await serveMetrics(metrics, routes.metrics));
    } catch (error) {
      log('warn', `Cannot show metrics on ${metrics.host} port ${metrics.port}: ${messageOf(error)}`);
    }
  return undo.move();
}
