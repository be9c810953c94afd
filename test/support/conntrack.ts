/** Conntrack of another network namespace, as a warm process asks it. */
import { Conntrack, countTracked } from '../../lib/kernel/conntrack.ts';
import { NetlinkSocket } from '../../lib/kernel/netlink.ts';
import { SocketPool } from '../../lib/kernel/socket-pool.ts';

/** Does the work with the calling thread in the namespace. */
export type Inside = (work: () => void) => void;

function resultOf<T>(inside: Inside, work: () => T): T {
  let result: T | undefined;
  inside(() => {
    result = work();
  });
  return result as T;
}

export const poolIn = (inside: Inside): SocketPool =>
  new SocketPool(() => resultOf(inside, () => NetlinkSocket.open('netfilter')));

export const conntrackBy = (pool: SocketPool, inside: Inside): Conntrack =>
  new Conntrack(pool, () => resultOf(inside, countTracked));
