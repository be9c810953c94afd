/** The agent's HTTP servers: one on a Unix socket for root, one for probes and Prometheus where an address is given. */
import { messageOf } from '../cni/error.ts';
import type { Log } from '../rpc/log.ts';
import { type AgentView, agentRoutes } from './http-routes.ts';
import { serveAdmin, serveMetrics } from './http-server.ts';

export interface AgentHttpOptions {
  readonly runDir: string;
  readonly metrics?: { readonly host: string; readonly port: number };
  readonly log: Log;
}

/** An address for metrics that is taken is logged, and keeps no pod from being plugged in. */
export async function serveAgentHttp(agent: AgentView, options: AgentHttpOptions): Promise<Disposable> {
  const { runDir, metrics, log } = options;
  const routes = agentRoutes(agent);
  using undo = new DisposableStack();
  undo.use(await serveAdmin(runDir, routes.admin));
  if (metrics)
    try {
      undo.use(await serveMetrics(metrics, routes.metrics));
    } catch (error) {
      log('warn', `Cannot show metrics on ${metrics.host} port ${metrics.port}: ${messageOf(error)}`);
    }
  return undo.move();
}
