/** hostPorts: which pod a port of the node leads to. One port of one address leads to one pod. */
import { CniError, codes } from '../cni/error.ts';
import { type Address, type Family, formatAddress, parseAddress } from '../ip/address.ts';
import { bindingsOverlap, isBoundIn, isUnspecified } from '../ip/binding.ts';
import type { Element } from '../nft/model.ts';
import { PROTOCOL } from '../nft/statements.ts';
import { type HostPort, type LocalPod, type NodeState, podKey } from './node-state.ts';

type Mapped = Pick<LocalPod, 'hostPorts' | 'addresses'>;

const hostAddress = ({ hostIP }: HostPort): Address | undefined =>
  hostIP === undefined ? undefined : parseAddress(hostIP);

const addressIn = ({ addresses }: Mapped, family: Family): Address | undefined =>
  addresses.map(text => parseAddress(text)).find(address => address?.family === family);

const familiesOf = (pod: Mapped): Family[] => ([4, 6] as const).filter(family => addressIn(pod, family) !== undefined);

/** `192.0.2.1:80/tcp`, `[2001:db8::1]:80/tcp`, or `80/tcp` for every address of the node. */
export function formatHostPort({ hostIP, hostPort, protocol }: HostPort): string {
  const host = hostIP?.includes(':') ? `[${hostIP}]` : hostIP;
  return `${host === undefined ? '' : `${host}:`}${hostPort}/${protocol}`;
}

const overlaps = (a: HostPort, b: HostPort, families: readonly Family[]): boolean =>
  a.hostPort === b.hostPort && a.protocol === b.protocol && bindingsOverlap(hostAddress(a), hostAddress(b), families);

/** Another pod has the port already, alive or dead. */
export class HostPortTaken extends CniError {}

/**
 * Runtimes give the ports of a container to each of its networks (podman does): they lead to its first one, and to the next
 * when that is unplugged.
 * @throws HostPortTaken, code 7, that names the pod which has the port already
 */
export function refuseTakenPorts(state: NodeState, pod: Omit<LocalPod, 'tag'>): void {
  if (pod.hostPorts.length === 0) return;
  const key = podKey(pod);
  const own = familiesOf(pod);
  for (const [otherKey, other] of Object.entries(state.pods)) {
    if (otherKey === key || other.containerID === pod.containerID || other.hostPorts.length === 0) continue;
    const shared = familiesOf(other).filter(family => own.includes(family));
    for (const wanted of pod.hostPorts) {
      const taken = other.hostPorts.find(each => overlaps(each, wanted, shared));
      if (!taken) continue;
      const as = taken.hostIP === wanted.hostIP ? '' : ` as ${formatHostPort(taken)}`;
      throw new HostPortTaken(
        codes.invalidConfig,
        `Cannot map hostPort ${formatHostPort(wanted)}: taken by pod ${other.namespace}/${other.name}${as}`,
        'choose another hostPort, or delete that pod',
      );
    }
  }
}

/** Pods with hostPorts by interface name, then by key. */
const inPortOrder = (pods: readonly LocalPod[]): readonly LocalPod[] =>
  pods
    .filter(({ hostPorts }) => hostPorts.length > 0)
    .map(pod => ({ pod, place: `${pod.ifname} ${podKey(pod)}` }))
    .sort((a, b) => (a.place < b.place ? -1 : 1))
    .map(({ pod }) => pod);

/**
 * The elements of the map of this family whose keys have a host address, or, with `isAny`, of the one whose keys have none.
 * Of two interfaces of one container that have one port, eth0 has it before eth1, in whichever order the state lists them.
 */
export function hostPortElements(pods: readonly LocalPod[], family: Family, isAny: boolean): Element[] {
  const elements = new Map<string, Element>();
  for (const pod of inPortOrder(pods)) {
    const address = addressIn(pod, family);
    if (!address) continue;
    const comment = `${pod.namespace}/${pod.name} ${formatAddress(address)}`;
    for (const mapping of pod.hostPorts) {
      const host = hostAddress(mapping);
      const isOnAny = host === undefined || isUnspecified(host);
      if (!isBoundIn(host, family) || isOnAny !== isAny) continue;
      const port = [PROTOCOL[mapping.protocol], mapping.hostPort];
      const id = `${isAny ? '' : formatAddress(host!)} ${port.join(' ')}`;
      if (elements.has(id)) continue;
      elements.set(id, { key: isAny ? port : [host!, ...port], value: [address, mapping.containerPort], comment });
    }
  }
  return [...elements.values()];
}

/** A mapping that is bound to one address. */
export interface BoundPort {
  readonly pod: LocalPod;
  readonly mapping: HostPort;
  readonly address: Address;
}

/** All mappings that lead to their pods only while the node has a certain address. */
export const boundPorts = ({ pods }: Pick<NodeState, 'pods'>): BoundPort[] =>
  Object.values(pods).flatMap(pod =>
    pod.hostPorts.flatMap((mapping): BoundPort[] => {
      const address = hostAddress(mapping);
      return address && !isUnspecified(address) ? [{ pod, mapping, address }] : [];
    }),
  );
