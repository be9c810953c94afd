/**
 * Deletes links of pods that are gone, once they are closed and unrouted. RTM_DELLINK holds its caller for 15 to 30 ms, and
 * deletes a whole interface group in the same time. A warm process therefore moves links into the group `deleting` and has
 * a thread delete the group; a process that ends with its call does its other work while a second socket waits.
 */
import { deleteLink, deleteLinkGroup, setLink } from '../kernel/link.ts';
import { type Exchange, mustExcept } from '../kernel/message.ts';
import { NetlinkSocket } from '../kernel/netlink.ts';
import { deleting } from '../tag/tag.ts';
import { findLink, removeLink } from './links.ts';

export interface LinkReaper {
  /** Resolves when the link is deleted, or is closed and will be deleted within a second. */
  readonly defer: (ifindex: number) => Promise<void>;
  /** Resolves when no link is left in the group `deleting`, whichever process put it there. */
  readonly drained: () => Promise<void>;
}

export const deleteDeferred = deleteLinkGroup(deleting);

/** Moves the link into the group `deleting`, which is closed like quarantine; a link that is gone is no error. */
export const markForDeletion = (host: Exchange, ifindex: number): void =>
  void mustExcept(host([setLink({ ifindex }, { group: deleting })]), 'ENODEV');

/** Waits on a socket of its own, so that `host` stays free. A refused deletion is repeated on `host` for its error. */
async function deleteAside(host: Exchange, ifindex: number): Promise<void> {
  using socket = NetlinkSocket.open('route');
  await socket.sendInThreadPool([deleteLink({ ifindex })]);
  if (findLink(host, { ifindex })) removeLink(host, ifindex);
}

/** The reaper of a process that ends with its call: it deletes each link at once, so that no other process has to. */
export const deletingReaper = (host: Exchange): LinkReaper => ({
  defer: ifindex => deleteAside(host, ifindex),
  drained: async () => void mustExcept(host([deleteDeferred]), 'ENODEV'),
});
