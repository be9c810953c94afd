/** Tracked connections outlive the rules that allowed them: what pods leave behind is forgotten here. */
import type { LocalPod } from '../gate/node-state.ts';
import { type Family, parseAddress } from '../ip/address.ts';
import type { Context } from './context.ts';

/** Without a handshake, a client that goes on sending to a hostPort would for ever be led to where it led before. */
export async function forgetStaleHostPorts(
  { hostPorts, addresses }: Pick<LocalPod, 'hostPorts' | 'addresses'>,
  { conntrack }: Pick<Context, 'conntrack'>,
): Promise<void> {
  const udp = hostPorts.filter(({ protocol }) => protocol === 'udp');
  const families = [...new Set<Family>(addresses.map(text => (text.includes(':') ? 6 : 4)))];
  await conntrack.forget(udp.flatMap(({ hostPort: udpPort }) => families.map(family => ({ family, udpPort }))));
}

/** So that the next owner of an address inherits no permission. */
export async function forgetFlowsOf(
  addresses: readonly string[],
  { conntrack }: Pick<Context, 'conntrack'>,
): Promise<void> {
  const found = addresses.map(parseAddress).filter(address => address !== undefined);
  await conntrack.forget(found.map(address => ({ address })));
}
