/** What the records of a state folder say of the node: its pods, and whose they are. */
import { statSync } from 'node:fs';
import type { FoundNode } from '../enforce/found.ts';
import { type LocalPod, podKey } from '../gate/node-state.ts';
import type { Exchange } from '../kernel/message.ts';
import type { NetnsIdentity } from '../kernel/netns.ts';
import { type Listed, listAttachments } from '../state/listed.ts';
import type { Facts } from '../state/record.ts';
import { listNetworks, openStore } from '../state/store.ts';
import { isIdentity } from '../tag/tag.ts';
import { homeOf, type PodFacts, readFacts } from './facts.ts';
import { hostEnd, lookUpIn } from './own-link.ts';

interface Recorded extends Pick<Listed, 'path' | 'facts'>, Pick<PodFacts, 'node'> {
  readonly pod: LocalPod;
}

/** Pods of this network namespace; a state folder may serve several namespaces. */
function recorded(stateDir: string, here: NetnsIdentity): Recorded[] {
  const store = openStore(stateDir);
  return listNetworks(store).flatMap(network =>
    listAttachments(store, network).flatMap(({ path, facts }) => {
      const { home = homeOf(here), pod, node } = readFacts(facts);
      return pod && home === homeOf(here) ? [{ path, facts, pod, ...(node && { node }) }] : [];
    }),
  );
}

/** Keys of the pods that some record speaks of. */
export const recordedPods = (
  stateDir: string,
  here: NetnsIdentity,
  isMeant = (_: Facts): boolean => true,
): Set<string> => new Set(recorded(stateDir, here).flatMap(({ facts, pod }) => (isMeant(facts) ? [podKey(pod)] : [])));

/** Pods that the records speak of and that are open in this network namespace, with the tags that their links carry. */
export function recoverPods(stateDir: string, host: Exchange, here: NetnsIdentity): Record<string, LocalPod> {
  const alive = recorded(stateDir, here).flatMap(({ pod }) => {
    const tag = hostEnd(lookUpIn(host), pod)?.group;
    return tag !== undefined && isIdentity(tag) ? [{ ...pod, tag }] : [];
  });
  return Object.fromEntries(alive.map(pod => [podKey(pod), pod]));
}

/** 0 where the record went meanwhile. */
const changedAt = ({ path }: Recorded): number => statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0;

/** Whose the node is by the last ADD that wrote it down: to be asked where both the node's record and its table are gone. */
export function recordedNode(stateDir: string, here: NetnsIdentity): FoundNode | undefined {
  const told = recorded(stateDir, here).filter(({ node }) => node !== undefined);
  const [last] = told.map(each => ({ ...each, at: changedAt(each) })).sort((a, b) => b.at - a.at);
  return last?.node;
}
