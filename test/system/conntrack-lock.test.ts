/** The kernel has one lock before the connections of all network namespaces: a DEL that waits for it holds up no other call. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import test from 'node:test';
import { parseAddress } from '../../lib/ip/address.ts';
import { NetlinkSocket } from '../../lib/kernel/netlink.ts';
import { inNetns, Netns } from '../../lib/kernel/netns.ts';
import { startAgent } from '../support/agent-process.ts';
import { add, addresses, type Call, silently, startHost } from '../support/cni.ts';
import { ConntrackCrowd } from '../support/conntrack-crowd.ts';
import type { Host } from '../support/host.ts';
import { listFlows } from '../support/listed-flows.ts';
import { manyFlows, openFlows } from '../support/tracked-flows.ts';
import { until } from '../support/until.ts';
import { callOf } from '../support/worker-host.ts';

const THREADS = 8;
const beyond = parseAddress('198.51.100.9')!;

/** A socket to the host's connections. */
function open(host: Host): NetlinkSocket {
  using place = Netns.open(`/proc/${host.pid}/ns/net`);
  return inNetns(place, () => NetlinkSocket.open('netfilter'));
}

/** Plugs a pod in and has it open connections. */
async function busyPod(host: Host, socket: NetlinkSocket, name: string): Promise<Call> {
  const call = await callOf(host, name);
  const [text = ''] = addresses(await add(host, call));
  openFlows(socket.exchange, manyFlows(parseAddress(text)!, beyond, 100));
  return call;
}

/** Text of a file, or the target of a link, that may be gone by now. */
function seen(read: () => string): string {
  try {
    return read();
  } catch {
    return '';
  }
}

/** Inodes of a process's sockets to netfilter. @see /proc/net/netlink: sk, Eth, Pid, Groups, …, Inode */
function netfilterSockets(pid: number): ReadonlySet<string> {
  const rows = readFileSync(`/proc/${pid}/net/netlink`, 'latin1').trim().split('\n').slice(1);
  const fields = rows.map(row => row.trim().split(/\s+/));
  return new Set(fields.filter(([, protocol]) => protocol === '12').map(each => `socket:[${each.at(-1)}]`));
}

/** Whether a thread of the process is inside of a system call on a socket to netfilter. */
function standsAtNetfilter(pid: number): boolean {
  const sockets = netfilterSockets(pid);
  return readdirSync(`/proc/${pid}/task`).some(task => {
    const [, fd] = seen(() => readFileSync(`/proc/${pid}/task/${task}/syscall`, 'latin1')).split(' ');
    return fd !== undefined && sockets.has(seen(() => readlinkSync(`/proc/${pid}/fd/${Number(fd)}`)));
  });
}

/** ADDs that were begun and answered, one after the other, while the DEL stood before the kernel. */
async function addedDuring(host: Host, pid: number, leaving: Call): Promise<number> {
  let added = 0;
  let isOver = false;
  const left = silently(host, 'DEL', leaving).then(() => {
    isOver = true;
  });
  await until('the DEL to stand before the kernel', () => isOver || standsAtNetfilter(pid));
  while (!isOver) {
    await add(host, await callOf(host, `${leaving.containerID}-other-${added}`));
    if (!isOver) added++;
  }
  await left;
  return added;
}

test('a DEL that stands behind the walks of other programs lets ADDs of other pods pass, and forgets its own', async () => {
  using host = await startHost({ way: 'launcher' });
  using agent = await startAgent(host);
  using socket = open(host);
  using crowd = new ConntrackCrowd(THREADS);
  await until('the crowd to walk', () => crowd.walks > 0);
  let turn = 0;
  await until('an ADD during a DEL, while the lock is held', async () => {
    const call = await busyPod(host, socket, `leaving-${turn++}`);
    const before = crowd.walks;
    const added = await addedDuring(host, agent.child.pid!, call);
    assert.deepEqual(listFlows(socket.exchange), []);
    return added > 0 && crowd.walks > before;
  });
});
