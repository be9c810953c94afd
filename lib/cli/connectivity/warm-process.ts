/** Asks the warm process of a node for a STATUS, handed over to it as a runtime's call is. */
import { existsSync } from 'node:fs';
import { handOver } from '../../rpc/client.ts';
import { socketPath } from '../../rpc/socket-path.ts';
import { agentOutcome, type CheckOutcome } from './checks.ts';
import type { Network } from './network.ts';

export interface AskedAgent {
  readonly outcome: CheckOutcome;
  /** Its likely cause, where it is a failure. */
  readonly cause?: string;
}

const NAME = 'the warm process takes calls in';

/** Undefined where no warm process has listened, or the last one ended in order and took its socket away. */
export async function askWarmProcess(network: Network, runDir: string): Promise<AskedAgent | undefined> {
  const path = socketPath(runDir);
  if (!existsSync(path)) return undefined;
  const answer = await handOver({
    ...{ role: 'tollgate', verb: 'STATUS', enforcer: 'inline', runDir },
    ...network.statusCall(),
    // Seconds, of an ADD.
    ...{ enforceTimeout: 60, agentGrace: 0 },
  });
  if (answer?.exitCode === 0) return { outcome: agentOutcome(NAME, undefined) };
  if (answer)
    return { outcome: agentOutcome(NAME, `STATUS failed: ${(JSON.parse(answer.stdout) as { msg: string }).msg}`) };
  return {
    outcome: agentOutcome(NAME, `it does not take a call in at ${path}`),
    cause:
      'The warm process is dead, stopped (`kill -CONT` lets it go on), or another network’s: calls are carried out without it, slower, and a change of the policies folder waits for the next of them. See its log (`journalctl -u tollgate-agent`), and start it again.',
  };
}
