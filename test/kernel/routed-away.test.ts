/** Whose an address is, by the node's routes: a pod's, or the node's own. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { parseAddress } from '../../lib/ip/address.ts';
import { NetlinkSocket } from '../../lib/kernel/netlink.ts';
import { inNetns } from '../../lib/kernel/netns.ts';
import { findRoutedAway } from '../../lib/pod/links.ts';
import { makeNetns } from '../support/netns.ts';

const node = makeNetns();
const route = inNetns(node, () => NetlinkSocket.open('route'));
after(() => {
  route[Symbol.dispose]();
  node[Symbol.dispose]();
});
const ip = (line: string) => node.exec('ip', line.split(' ')).stdout;
ip('link add host type veth peer name pod');
for (const link of ['host', 'pod']) ip(`link set ${link} up`);

const isAway = (text: string): boolean => findRoutedAway(route.exchange, [parseAddress(text)!]) !== undefined;

test('an address with a route of its own is a pod’s', () => {
  for (const address of ['10.77.0.2', 'fd77::2']) {
    ip(`route add ${address} dev host`);
    assert.equal(isAway(address), true, address);
  }
});

test('an address of the node’s own is not, nor while the kernel asks whether others have it', () => {
  ip('addr add 10.77.0.1/32 dev host');
  assert.equal(isAway('10.77.0.1'), false);
  // Not local yet: it has only the route that the kernel makes of a prefix. Links of pods are in that state for a moment.
  ip('addr add fd77::1/128 dev host');
  assert.match(ip('-6 addr show dev host'), /fd77::1\/128 scope global tentative/);
  assert.equal(isAway('fd77::1'), false);
});
