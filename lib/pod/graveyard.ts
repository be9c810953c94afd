/**
 * Where links go that are closed and unrouted. To delete one holds its caller for 15 to 30 ms, and many of one interface
 * group take no longer: so a process that goes on lets the kernel do it meanwhile, all at once that have come to be there;
 * and one that ends with its call does what else there is to do meanwhile.
 */
import { deleteLink, deleteLinkGroup, setLink } from '../kernel/link.ts';
import { type Exchange, mustExcept } from '../kernel/message.ts';
import { NetlinkSocket } from '../kernel/netlink.ts';
import { buried } from '../tag/tag.ts';
import { findLink, removeLink } from './interface.ts';

export interface Graveyard {
  /** Resolves when the link is gone, or as good as gone: closed, and gone within a second. */
  readonly bury: (ifindex: number) => Promise<void>;
  /** Resolves when all that was buried is gone, by whomever. */
  readonly emptied: () => Promise<void>;
}

export const deleteBuried = deleteLinkGroup(buried);

/** Still closed, as every group of this kind; but nobody looks for it any more. */
export const putAside = (host: Exchange, ifindex: number): void =>
  void mustExcept(host([setLink({ ifindex }, { group: buried })]), 'ENODEV');

/** On a socket of its own, so that others have their answers meanwhile; what is refused is asked again, for the reason. */
async function deleteAside(host: Exchange, ifindex: number): Promise<void> {
  using socket = NetlinkSocket.open('route');
  await socket.sendAside([deleteLink({ ifindex })]);
  if (findLink(host, { ifindex })) removeLink(host, ifindex);
}

/** For a process that ends with its call: nothing is buried that others would have to delete. */
export const deletingAside = (host: Exchange): Graveyard => ({
  bury: ifindex => deleteAside(host, ifindex),
  emptied: async () => void mustExcept(host([deleteBuried]), 'ENODEV'),
});
