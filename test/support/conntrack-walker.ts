/**
 * A program: asks for all connections of the network namespace that it is in, again and again, from each thread of Node's pool
 * (UV_THREADPOOL_SIZE) at once. One walk goes through the kernel's whole table, of all network namespaces, and all but one of
 * the threads stand behind the lock. A line for each walk.
 */
import { dumpFlows } from '../../lib/kernel/conntrack-request.ts';
import { NetlinkSocket } from '../../lib/kernel/netlink.ts';
import { SocketPool } from '../../lib/kernel/socket-pool.ts';

const threads = Number(process.env['UV_THREADPOOL_SIZE']);
const pool = new SocketPool(() => NetlinkSocket.open('netfilter'));

async function walk(): Promise<never> {
  for (;;) {
    for await (const replies of pool.dump(dumpFlows())) void replies;
    process.stdout.write('walk\n');
  }
}

await Promise.all(Array.from({ length: threads }, walk));
