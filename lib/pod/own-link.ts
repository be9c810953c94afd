/**
 * Finds which link of the node is a pod's. Any program with CAP_NET_ADMIN may rename a link, change its alias or its group; its
 * ifindex, and which interface is at its other end, stay as they are.
 */
import type { LocalPod } from '../gate/node-state.ts';
import { getLink, type Link, type LinkKey, linkOf } from '../kernel/link.ts';
import { type Exchange, mustExcept } from '../kernel/message.ts';
import { NetlinkSocket } from '../kernel/netlink.ts';
import { inNetns, Netns, NetnsError } from '../kernel/netns.ts';
import { isNetnsGone } from '../kernel/netnsid.ts';
import { parseAlias, shortID } from '../tag/alias.ts';
import { type AttachmentKey, hostInterfaceName, linkMac } from '../tag/link-name.ts';
import { isIdentity, isOurs } from '../tag/tag.ts';
import { findLink, isThere } from './links.ts';

/** Finds a link, in the kernel or in a list of links. */
export type LookUp = (key: LinkKey) => Link | undefined;

/** The kernel's answers, for `hostEnd`. */
export const lookUpIn =
  (host: Exchange): LookUp =>
  key =>
    findLink(host, key);

/**
 * Whether the alias is the container's, or, where there is none, the tag one of ours: of a link of ours one may be lacking
 * (the alias where its ADD died at once, the tag where a person took it off), but not both.
 */
export function isLinkOf(link: Link, containerID: string): boolean {
  if (link.alias === undefined || link.alias === '') return isOurs(link.group);
  return parseAlias(link.alias)?.shortID === shortID(containerID);
}

/** A link of ours, or one that has lost its alias, with a tag that an identity may have. */
export const isTagged = ({ group, alias }: Link): boolean =>
  isIdentity(group) && (alias === undefined || alias === '' || parseAlias(alias) !== undefined);

/** The node's end of the pod: by its ifindex, under whatever name; else by the name that it was given. */
export function hostEnd(
  lookUp: LookUp,
  { containerID, link: name, ifindex }: Pick<LocalPod, 'containerID' | 'link' | 'ifindex'>,
): Link | undefined {
  const found = ifindex === undefined ? undefined : lookUp({ ifindex });
  // The kernel gives a number again only if a person asks for it.
  if (isThere(found) && (found.name === name || isLinkOf(found, containerID))) return found;
  const named = lookUp({ name });
  return isThere(named) && isLinkOf(named, containerID) ? named : undefined;
}

/** The node's end of an attachment whose record tells of no pod yet: an ADD makes the link before it writes of the pod. */
export function namedEnd(lookUp: LookUp, containerID: string, names: Iterable<string>): Link | undefined {
  for (const name of new Set(names)) {
    const link = lookUp({ name });
    if (isThere(link) && isLinkOf(link, containerID)) return link;
  }
  return undefined;
}

/** Whether the network namespace at the other end of a veth has ended, so that the kernel is about to delete the link. */
export const isPodGone = (host: Exchange, { peerNetnsid }: Link): boolean =>
  peerNetnsid !== undefined && isNetnsGone(host, peerNetnsid);

/** A link of ours by its own marks: the name or the hardware address that follow from its attachment. */
export const isMadeFor = (key: AttachmentKey, { name, mac, kind }: Link): boolean =>
  kind === 'veth' && (name === hostInterfaceName(key) || mac === linkMac(key, 'host'));

/** Asks in a container's network namespace; undefined where the path leads to none. */
function socketIn(path: string, caller: number | undefined): NetlinkSocket | undefined {
  let opened: Netns;
  try {
    opened = Netns.open(path, caller);
  } catch {
    return undefined;
  }
  using netns = opened;
  try {
    return inNetns(netns, () => NetlinkSocket.open('route'));
  } catch (error) {
    // A namespace of another kind.
    if (error instanceof NetnsError) return undefined;
    throw error;
  }
}

/**
 * The other end of the container's interface, where that is a veth to this node; undefined where the namespace is gone, and
 * the pair with it, or where another program made the interface.
 * @param path of the container's network namespace, as the runtime gives it
 */
export function peerInPod(host: Exchange, path: string, key: AttachmentKey, caller?: number): Link | undefined {
  using pod = socketIn(path, caller);
  if (!pod) return undefined;
  const [reply] = mustExcept(pod.exchange([getLink({ name: key.ifname })]), 'ENODEV').flat();
  const inside = reply && linkOf(reply);
  if (inside?.kind !== 'veth' || inside.peer === undefined) return undefined;
  const outside = findLink(host, { ifindex: inside.peer });
  if (outside?.kind !== 'veth' || outside.peer !== inside.ifindex) return undefined;
  return isThere(outside) && (isMadeFor(key, outside) || isLinkOf(outside, key.containerID)) ? outside : undefined;
}
