/**
 * The way back, which DEL, GC and a failed ADD share. Closed and unrouted first; then the kernel deletes the link while the
 * pod is taken out of the table and out of conntrack; and the address last: one that is released while the table still knows
 * it would hand its permissions to a stranger. So whatever fails stops here, keeps the claim, and is tried again.
 */

import type { Config } from '../cni/config.ts';
import { messageOf } from '../cni/error.ts';
import { builtinIpam } from '../cni/ipam.ts';
import type { NodeSettings } from '../cni/own-keys.ts';
import type { AttachmentRequest } from '../cni/request.ts';
import { podKey } from '../gate/node-state.ts';
import { formatAddress } from '../ip/address.ts';
import type { Link } from '../kernel/link.ts';
import { type Attachment, readFacts as readRecord, recordPath } from '../state/attachment.ts';
import { releaseLost } from '../state/claims.ts';
import { openStore } from '../state/store.ts';
import { hostInterfaceName } from '../tag/link-name.ts';
import type { Context } from './context.ts';
import { delegateVerb, findDelegate } from './delegate.ts';
import { type PodFacts, readFacts } from './facts.ts';
import { forgetFlowsOf } from './forget-flows.ts';
import { delegationOf, releaseAddresses } from './ipam.ts';
import { answerFromLoopback, condemn, routesOver, tagLink, unroute, writeAlias } from './links.ts';
import { hostEnd, isMadeFor, lookUpIn, namedEnd, peerInPod } from './own-link.ts';

/** An attachment that is to be undone. */
export interface Leaving {
  readonly containerID: string;
  readonly ifname: string;
  readonly network: string;
  readonly settings: NodeSettings;
  /** The network's configuration as a runtime gives it; absent where the whole node is collected. */
  readonly config?: Config;
  /** Path of the container's namespace as the runtime gives it; GC's caller gives none. */
  readonly netns?: string;
  /** CNI_PATH, for a delegate. */
  readonly path: readonly string[];
}

/** The attachment of a call. */
export const leavingBy = ({ containerID, ifname, netns, path, config }: AttachmentRequest): Leaving => ({
  ...{ containerID, ifname, netns, path, config },
  ...{ network: config.name, settings: config },
});

/**
 * The node's end, whatever it is called by now: by the pod's record, else by the node's; by its name, which follows from the
 * attachment unless another plugin made it; else as the other end of the container's interface.
 */
function findOwnLink(
  leaving: Leaving,
  netns: string | undefined,
  facts: PodFacts | undefined,
  context: Context,
): Link | undefined {
  const { network, config, containerID, ifname } = leaving;
  const { host, caller } = context;
  const key = { network, containerID, ifname };
  const lookUp = lookUpIn(host);
  const pod = facts?.pod ?? context.hook.find(podKey(key));
  const known = pod && hostEnd(lookUp, pod);
  if (known) return known;
  const ours = hostInterfaceName(key);
  const chained = config?.prevResult?.interfaces.filter(({ sandbox }) => !sandbox).map(({ name }) => name) ?? [];
  const found = namedEnd(lookUp, containerID, [facts?.link ?? ours, ours, ...chained]);
  return found ?? (netns === undefined ? undefined : peerInPod(host, netns, key, caller));
}

/**
 * A link that another plugin made is that plugin's to delete; under `none` it gets back what it had. Else it
 * is condemned once more: a process that relabelled the pod may have given it a tag after the first time, and
 * none does once the pod has left the table.
 */
function leaveLink(link: Link, isGated: boolean, context: Context): void {
  if (isGated) condemn(context.host, link.ifindex);
  else {
    tagLink(context.host, link.ifindex, 0);
    writeAlias(context.host, link.ifindex, '');
  }
}

const addressesOver = (link: Link, context: Context): string[] =>
  routesOver(context.host, link.ifindex)
    .filter(({ destination }) => destination.length === (destination.family === 4 ? 32 : 128))
    .map(({ destination }) => formatAddress(destination));

/** Waits for all of them, whatever becomes of one. @throws what the first that failed threw */
async function all(work: readonly (Promise<void> | false | undefined)[]): Promise<void> {
  for (const done of await Promise.allSettled(work)) if (done.status === 'rejected') throw done.reason;
}

/**
 * @param attachment its record, locked; undefined where there is none: the kernel knows enough
 * @returns false where there was no record and there is one by now: an ADD has begun, and its lock is to be had first
 * @throws what kept the pod from being taken out of the table, or its address from being released
 */
export async function unplug(leaving: Leaving, attachment: Attachment | undefined, context: Context): Promise<boolean> {
  const { network, settings, config, containerID, ifname } = leaving;
  const facts = attachment && readFacts(attachment.facts);
  const netns = leaving.netns || attachment?.facts.netns;
  const link = facts?.kind === 'ipam' ? undefined : findOwnLink(leaving, netns, facts, context);
  const key = { network, containerID, ifname };
  // An ADD writes its record first, so a link that is found before the record is looked for is none of a new ADD.
  const isBegun = () => !attachment && readRecord(recordPath(openStore(settings.stateDir), key)) !== undefined;
  if (isBegun()) return false;
  const isChained = facts ? facts.kind === 'chained' : link !== undefined && !isMadeFor(key, link);
  // Its maker may leave it there for a while, and the table that guards the loopback goes with the last pod.
  if (link && isChained) answerFromLoopback(context.host, link.ifindex, false);
  if (link && !(isChained && settings.enforcer.kind === 'none')) condemn(context.host, link.ifindex);
  const addresses = facts?.pod?.addresses ?? attachment?.facts.addresses ?? (link ? addressesOver(link, context) : []);
  const takeOut = async (): Promise<void> => {
    await context.hook.dismiss(podKey(key), isBegun);
    await forgetFlowsOf(addresses, context);
    context.closeNft?.();
  };
  const removeOwn = async ({ ifindex }: Link): Promise<void> => {
    unroute(context.host, ifindex, facts?.pod?.addresses);
    await context.reaper.defer(ifindex);
  };
  await all([link && !isChained && removeOwn(link), facts?.kind !== 'ipam' && takeOut()]);
  if (link && isChained) leaveLink(link, settings.enforcer.kind !== 'none', context);
  // GC speaks for the whole network, and a person for the node: a delegate must hear whose address it is, and wants a path.
  const named = { CNI_CONTAINERID: containerID, CNI_IFNAME: ifname, CNI_PATH: leaving.path.join(':') };
  const own = { ...context, env: { ...context.env, ...named } };
  if (!attachment) {
    releaseLost(openStore(settings.stateDir), key, addresses);
    await releaseUnrecorded(leaving, own);
    return true;
  }
  if (facts?.isAdopted) await releaseUnrecorded(leaving, own);
  await releaseAddresses(attachment, facts?.delegate, own, { path: leaving.path, cniVersion: config?.cniVersion });
  attachment.remove();
  return true;
}

/**
 * Without a record there is nothing of ours to release, but a delegate keeps its own: after a reboot, say, which takes our
 * records and not those of host-local. A delegate that cannot be found has never given anything.
 */
async function releaseUnrecorded({ config, path }: Leaving, context: Context): Promise<void> {
  if (!config?.ipam || config.ipam.type === builtinIpam) return;
  try {
    findDelegate(config.ipam.type, path);
  } catch (error) {
    context.log(`Nothing to release: ${messageOf(error)}`);
    return;
  }
  await delegateVerb(delegationOf(config, 'DEL', context, path));
}
