/** Denied flows as the node logs them, where this process is the one to read its log. */

import { DenialWatch } from '../../controller/flow-denial-watch.ts';
import type { NodeNames } from '../../controller/flow-denials.ts';
import { rulesetOfFolder } from '../../enforce/folder-rules.ts';
import { identityOf, type LocalPod } from '../../gate/node-state.ts';
import { Nft } from '../../kernel/nft.ts';
import { manifestsOf } from '../../nodestore/policy-folder.ts';
import { localAddresses } from '../../pod/here.ts';
import { type NetworkPolicy, policyRef } from '../../policy/model/model.ts';
import { selects } from '../../policy/model/selector.ts';
import type { Live } from '../live-node.ts';
import { keptOf } from '../policy/judged.ts';
import type { PrintedDenials } from './denied-lines.ts';
import type { Listening } from './listening.ts';

/** How often the agent is asked for what it has heard, in milliseconds. */
const REFRESH = 10_000;

/** Names of addresses and chains by the node's files: an address may be another pod's by now, a chain other policies'. */
async function namesOf(live: Live, runDir: string): Promise<NodeNames & { readonly refresh: () => Promise<void> }> {
  const { here, found } = live;
  const isAgents = found?.owner.enforcer === 'agent';
  let heard = isAgents ? await keptOf(live, runDir) : undefined;
  const { table } = here.hook;
  let pods = new Map<string, LocalPod>();
  let chains = new Map<string, readonly string[]>();
  let policies = new Map<string, NetworkPolicy>();
  let local = new Set<string>();
  let stamp: string | undefined;
  const read = () => {
    const now = table.store.stamp();
    if (now === stamp) return;
    stamp = now;
    local = localAddresses(here.host);
    const file = table.store.read();
    if (!file) return;
    const kept = heard ?? table.store.readApplied();
    const { chains: compiled } = rulesetOfFolder(kept, file.state);
    chains = new Map([...compiled].map(([name, chain]) => [name, chain.policies]));
    policies = new Map(manifestsOf(kept).world.policies.map(policy => [policyRef(policy), policy]));
    const all = Object.values(file.state.pods);
    pods = new Map(all.flatMap(pod => pod.addresses.map((address): [string, LocalPod] => [address, pod])));
  };
  const isolates = (ref: string, pod: LocalPod): boolean => {
    const policy = policies.get(ref);
    // One of the whole cluster.
    if (!policy) return true;
    return policy.namespace === pod.namespace && selects(policy.subject, identityOf(pod).labels);
  };
  return {
    async refresh() {
      if (!isAgents) return;
      heard = await keptOf(live, runDir);
      stamp = undefined;
    },
    who: address => {
      read();
      const pod = pods.get(address);
      if (pod) return `${pod.namespace}/${pod.name}`;
      return local.has(address) ? 'node' : address;
    },
    policies: (chain, subject) => {
      read();
      const all = chains.get(chain) ?? [];
      const pod = subject === undefined ? undefined : pods.get(subject);
      return pod ? all.filter(ref => isolates(ref, pod)) : all;
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
