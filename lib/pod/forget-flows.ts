/** Deletes tracked connections that pods leave behind: they outlive the rules that allowed them. */
import type { LocalPod } from '../gate/node-state.ts';
import { type Family, parseAddress } from '../ip/address.ts';
import type { Context } from './context.ts';

/**
 * Forgets UDP connections to the pod's hostPorts: a client that goes on sending, without a handshake, would for ever be led to
 * the pod that had the port before.
 */
export async function forgetStaleHostPorts(
  { hostPorts, addresses }: Pick<LocalPod, 'hostPorts' | 'addresses'>,
  { conntrack }: Pick<Context, 'conntrack'>,
): Promise<void> {
  const udp = hostPorts.filter(({ protocol }) => protocol === 'udp');
  const families = [...new Set<Family>(addresses.map(text => (text.includes(':') ? 6 : 4)))];
  await conntrack.forget(udp.flatMap(({ hostPort: udpPort }) => families.map(family => ({ family, udpPort }))));
}

/** Forgets the connections of these addresses, so that their next owner inherits no permission. */
export async function forgetFlowsOf(
  addresses: readonly string[],
  { conntrack }: Pick<Context, 'conntrack'>,
): Promise<void> {
  const found = addresses.map(parseAddress).filter(address => address !== undefined);
  await conntrack.forget(found.map(address => ({ address })));
}
