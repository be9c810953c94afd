/**
 * Where links go that are closed, out of the table and unrouted. To delete one holds its caller for 15 to 30 ms, and many of
 * one interface group take no longer: so a process that goes on lets the kernel do it meanwhile, all at once that have come to be there.
 */
import { deleteLinkGroup, setLink } from '../kernel/link.ts';
import { type Exchange, mustExcept } from '../kernel/message.ts';
import { buried } from '../tag/tag.ts';
import { removeLink } from './interface.ts';

export interface Graveyard {
  /** To be gone within a second, and as good as gone until then. */
  readonly bury: (ifindex: number) => void;
  /** Resolves when all that was buried is gone, by whomever. */
  readonly emptied: () => Promise<void>;
}

export const deleteBuried = deleteLinkGroup(buried);

/** Still closed, as every group of this kind; but nobody looks for it any more. */
export const putAside = (host: Exchange, ifindex: number): void =>
  void mustExcept(host([setLink({ ifindex }, { group: buried })]), 'ENODEV');

/** For a process that ends with its call: nothing is buried that others would have to delete. */
export const deletingAtOnce = (host: Exchange): Graveyard => ({
  bury: ifindex => removeLink(host, ifindex),
  emptied: async () => void mustExcept(host([deleteBuried]), 'ENODEV'),
});
