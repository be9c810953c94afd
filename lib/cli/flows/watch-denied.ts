/** Denied flows as the node logs them, where this process is the one to read its log. */

import { DenialWatch } from '../../controller/flow-denial-watch.ts';
import type { NodeNames } from '../../controller/flow-denials.ts';
import { folderSource, policiesOfChain } from '../../controller/flow-source.ts';
import { Nft } from '../../kernel/nft.ts';
import { localAddresses } from '../../pod/here.ts';
import type { Live } from '../live-node.ts';
import { keptOf } from '../policy/judged.ts';
import type { PrintedDenials } from './denied-lines.ts';
import type { Listening } from './listening.ts';

/** How often the agent is asked for what it has heard, in milliseconds. */
const REFRESH = 10_000;

/** Names of addresses and chains by the node's files: an address may be another pod's by now, a chain other policies'. */
async function namesOf(live: Live, runDir: string): Promise<NodeNames & { readonly refresh: () => Promise<void> }> {
  const { here, found } = live;
  const { table } = here.hook;
  const isAgents = found?.owner.enforcer === 'agent';
  let heard = isAgents ? await keptOf(live, runDir) : undefined;
  const addresses = () => localAddresses(here.host);
  const source = folderSource(table, addresses, () => heard ?? table.store.readApplied());
  const read = () => ({ heard, stamp: source.stamp(), scene: source.scene(), chains: source.chains() });
  let known = read();
  const latest = () => {
    // Once its last pod has gone, the node is what it was.
    const isOld = known.heard !== heard || known.stamp !== source.stamp();
    if (isOld && table.store.owner()) known = read();
    return known;
  };
  return {
    async refresh() {
      if (isAgents) heard = await keptOf(live, runDir);
    },
    who: address => {
      const { pods, own } = latest().scene;
      const pod = pods.get(address);
      if (pod) return `${pod.namespace}/${pod.name}`;
      return own.has(address) ? 'node' : address;
    },
    policies: (chain, subject) => {
      const { chains, scene } = latest();
      return policiesOfChain(chains, scene, chain, subject);
    },
  };
}

/** Reads the node's log of denials and its counters in this process, where no agent does, until the signal. */
export async function watchDenied(
  live: Live,
  { group, runDir }: { readonly group: number; readonly runDir: string },
  printed: PrintedDenials,
  { begun, stop }: Listening,
): Promise<void> {
  const names = await namesOf(live, runDir);
  using nft = Nft.open();
  const { promise: ended, resolve, reject } = Promise.withResolvers<void>();
  using watched = new DenialWatch({ group, nft, names }, { ...printed, ended: reject });
  // While the agent is away, what it said last must do. Nothing else keeps this process alive.
  const refreshing = setInterval(() => void names.refresh().catch(() => undefined), REFRESH);
  stop.addEventListener('abort', () => resolve(), { once: true });
  try {
    await watched.ready();
    begun();
    if (!stop.aborted) await ended;
  } finally {
    clearInterval(refreshing);
  }
  await watched.finish();
}
