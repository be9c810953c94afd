/** The kernel has one lock before the connections of all network namespaces: who waits for it holds up nobody else. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { parseAddress } from '../../lib/ip/address.ts';
import { NetlinkSocket } from '../../lib/kernel/netlink.ts';
import { inNetns, Netns } from '../../lib/kernel/netns.ts';
import { add, addresses, type Call, silently, startHost } from '../support/cni.ts';
import { ConntrackCrowd } from '../support/conntrack-crowd.ts';
import { type Host, until } from '../support/host.ts';
import { listFlows } from '../support/listed-flows.ts';
import { manyFlows, openFlows } from '../support/tracked-flows.ts';
import { callThrough } from '../support/way.ts';
import { callOf } from '../support/worker-host.ts';

const THREADS = 8;
/** ADDs of others that are answered while one DEL waits: one could be chance. */
const ENOUGH = 3;
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

/** ADDs that were begun and answered, one after the other, while the DEL was under way. */
async function addedDuring(host: Host, call: Call, turn: number): Promise<number> {
  let added = 0;
  let isOver = false;
  const leaving = silently(host, 'DEL', call).then(() => {
    isOver = true;
  });
  while (!isOver) {
    await add(host, await callOf(host, `other-${turn}-${added}`));
    if (!isOver) added++;
  }
  await leaving;
  return added;
}

callThrough('worker');
test('a DEL that stands behind the walks of other programs lets ADDs of other pods pass, and forgets its own', async () => {
  using host = await startHost();
  using socket = open(host);
  using crowd = new ConntrackCrowd(THREADS);
  await until('the crowd to walk', () => crowd.walks > 0);
  let turn = 0;
  await until('several ADDs during one DEL', async () => {
    const call = await busyPod(host, socket, `leaving-${turn}`);
    const before = crowd.walks;
    const added = await addedDuring(host, call, turn++);
    assert.ok(crowd.walks > before, 'the lock was held meanwhile');
    assert.deepEqual(listFlows(socket.exchange), []);
    return added >= ENOUGH;
  });
});
