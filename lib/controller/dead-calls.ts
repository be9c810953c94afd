/** What calls that died left behind, cleared away in every network that keeps anything. */

import { type Config, parseConfig } from '../cni/config.ts';
import { messageOf } from '../cni/error.ts';
import type { Owner } from '../gate/node-state.ts';
import type { Adopted } from '../pod/adopt.ts';
import { collect, type Undone } from '../pod/collect.ts';
import type { Context } from '../pod/context.ts';
import { networksOf } from '../pod/networks.ts';
import type { Log } from '../rpc/log.ts';
import { openStore } from '../state/store.ts';

export interface DeadCalls {
  /** Running pods whose records were lost, and are written again. */
  readonly adopted: readonly Adopted[];
  readonly undone: readonly Undone[];
  readonly failures: readonly string[];
}

interface Clearing {
  readonly owner: Owner;
  readonly runDir: string;
  readonly log: Log;
  readonly contextFor: (config: Config, say: (line: string) => void) => Context;
}

export async function clearDeadCalls({ owner, runDir, log, contextFor }: Clearing): Promise<DeadCalls> {
  const network = { cniVersion: '1.1.0', name: 'node', type: 'tollgate', ...owner, runDir };
  const config = parseConfig(JSON.stringify(network), 'STATUS');
  const store = openStore(owner.stateDir);
  const context = contextFor(config, line => log('warn', line));
  const adopted: Adopted[] = [];
  const undone: Undone[] = [];
  const failures: string[] = [];
  for (const name of networksOf(store, context.hook)) {
    const found = await collect({ config: { ...config, name }, path: [], keep: undefined }, context);
    for (const { pod } of found.adopted) log('warn', `Wrote the record of ${pod} again, which was lost`);
    for (const { pod, containerID, why } of found.undone) log('info', `Cleared away ${pod ?? containerID}: ${why}`);
    for (const failure of found.failures) log('warn', `Cannot clear away in network ${name}: ${messageOf(failure)}`);
    adopted.push(...found.adopted);
    undone.push(...found.undone);
    failures.push(...found.failures.map(messageOf));
  }
  return { adopted, undone, failures };
}
