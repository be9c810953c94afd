/** Tracked connections outlive the rules that allowed them: what pods leave behind is forgotten here. */
import type { LocalPod } from '../gate/node-state.ts';
import { type Family, parseAddress } from '../ip/address.ts';
import { forgetFlowsOf as forgetInKernel, forgetUdpFlowsToPort } from '../kernel/conntrack.ts';
import type { Context } from './context.ts';

/** Without a handshake, a client that goes on sending to a hostPort would for ever be led to where it led before. */
export function forgetStaleHostPorts(
  { hostPorts, addresses }: Pick<LocalPod, 'hostPorts' | 'addresses'>,
  { nft }: Pick<Context, 'nft'>,
): void {
  const udp = hostPorts.filter(({ protocol }) => protocol === 'udp');
  if (udp.length === 0) return;
  const families = new Set<Family>(addresses.map(text => (text.includes(':') ? 6 : 4)));
  for (const { hostPort } of udp) for (const family of families) forgetUdpFlowsToPort(nft().exchange, family, hostPort);
}

/** So that the next owner of an address inherits no permission. */
export function forgetFlowsOf(addresses: readonly string[], { nft }: Pick<Context, 'nft'>): void {
  for (const text of addresses) {
    const address = parseAddress(text);
    if (address) forgetInKernel(nft().exchange, address);
  }
}
