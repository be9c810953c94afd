/**
 * Flows between all parties on one node of a random world, and whether the node's gate shall let them pass: the verdict of
 * `evaluate` on those ends of a flow that are pods of this node.
 */

import { emptyNode, joined, type LocalPod, type NodeState, podKey } from '../../lib/gate/node-state.ts';
import { identitiesOfNode, rulesetOfNode, worldOfNode } from '../../lib/gate/node-world.ts';
import { type Address, type Family, parseAddress } from '../../lib/ip/address.ts';
import { compile } from '../../lib/policy/compile/compile.ts';
import type { Ruleset } from '../../lib/policy/compile/ruleset.ts';
import { Cluster } from '../../lib/policy/evaluate/cluster.ts';
import { evaluate } from '../../lib/policy/evaluate/evaluate.ts';
import type { Direction, Endpoint, Flow, Pod, World } from '../../lib/policy/model/model.ts';
import { localPods, type Manifest, outside, tagged, traffic, worldFrom } from './worlds.ts';

export type Place =
  | { readonly kind: 'pod'; readonly pod: Pod; readonly tag: number }
  | { readonly kind: 'node' | 'beyond' };

/** A pod, node or host outside that has an address. */
export interface Party {
  readonly place: Place;
  readonly address: string;
  /** The same, as packets have it. */
  readonly at: Address;
}

export interface WorldFlow extends Pick<Flow, 'protocol' | 'port'> {
  readonly from: Party;
  readonly to: Party;
  readonly family: Family;
  /** A pod to itself. */
  readonly throughService?: boolean;
}

export interface Denial {
  readonly direction: Direction;
  /** `Kind/namespace/name` of the policies that isolate the subject. */
  readonly by: readonly string[];
}

/** On which the test's node is, and another one. */
const nodeAddresses = ['10.0.0.101', 'fd00::65'];
const otherNode = ['10.0.0.102', 'fd00::66'];
/** Addresses that pods of worlds.ts may have. */
const podAddresses = [1, 2, 3, 4, 5, 6, 7].flatMap(i => [`10.0.0.${i}`, `fd00::${i}`]);

const party = (place: Place, address: string): Party => ({ place, address, at: parseAddress(address)! });

export class NodeWorld {
  readonly world: World;
  readonly state: NodeState;
  readonly ruleset: Ruleset;
  readonly parties: readonly Party[];
  readonly #cluster: Cluster;
  readonly #enforceEgressToNode: boolean;
  readonly #isOrdered: boolean;

  /** @param apart as `CompileOptions` have it */
  constructor(list: readonly Manifest[], enforceEgressToNode: boolean, apart?: number) {
    this.world = worldFrom(list);
    this.#cluster = new Cluster(this.world);
    this.#enforceEgressToNode = enforceEgressToNode;
    this.#isOrdered = (this.world.clusterPolicies ?? []).length > 0;
    const local = localPods(this.world);
    const { tagOf } = tagged(local);
    const settings = { judge: 'inline', nflogGroup: 7467, enforceEgressToNode } as const;
    const pods = local.map(pod => localPod(pod, tagOf(pod)!));
    const empty = emptyNode({ enforcer: 'inline', stateDir: '/none', policies: '/none' }, settings);
    this.state = joined(empty, Object.fromEntries(pods.map(pod => [podKey(pod), pod])), () => false);
    // A folder's manifests do not say which pods are local.
    const told = { ...this.world, pods: this.world.pods.map(({ local: _, ...pod }) => pod) };
    this.ruleset =
      apart === undefined
        ? rulesetOfNode(told, this.state)
        : compile(worldOfNode(told, this.state), identitiesOfNode(this.state), { apart });
    const here = local.flatMap(pod =>
      pod.addresses.map(address => party({ kind: 'pod', pod, tag: tagOf(pod)! }, address)),
    );
    const taken = new Set(here.map(({ address }) => address));
    const beyond = [...podAddresses, ...outside, ...otherNode].filter(address => !taken.has(address));
    this.parties = [
      ...here,
      ...beyond.map(address => party({ kind: 'beyond' }, address)),
      ...nodeAddresses.map(address => party({ kind: 'node' }, address)),
    ];
  }

  /** Each ordered pair of which one is a pod of this node, with each kind of traffic. */
  *flows(): Generator<WorldFlow> {
    for (const from of this.parties)
      for (const to of this.parties) {
        const { family } = from.at;
        if (to.at.family !== family) continue;
        if (from.place.kind !== 'pod' && to.place.kind !== 'pod') continue;
        const isItself = from.place.kind === 'pod' && to.place.kind === 'pod' && from.place.pod === to.place.pod;
        if (isItself && !this.#isOrdered) continue;
        const way = isItself ? { throughService: true } : {};
        for (const { protocol, port } of traffic) yield { from, to, family, protocol, port, ...way };
      }
  }

  /** Whether this node's gate lets it pass. What the other end's node has to say is not our matter. */
  isAllowed(flow: WorldFlow): boolean {
    return this.denial(flow) === undefined;
  }

  /** The reason for which this node's gate denies the flow, egress first; undefined where the flow passes. */
  denial({ from, to, family, protocol, port, throughService = false }: WorldFlow): Denial | undefined {
    // Worlds without cluster policies tell nothing of nodes.
    if (to.place.kind === 'node' && !this.#enforceEgressToNode && !this.#isOrdered) return undefined;
    const flow = { from: callerOf(from), to: endpointOf(to), family, protocol, port, throughService };
    const { egress, ingress } = evaluate(this.#cluster, flow, { enforceEgressToNode: this.#enforceEgressToNode });
    if (from.place.kind === 'pod' && !egress.allowed) return { direction: 'egress', by: egress.by };
    if (to.place.kind === 'pod' && !ingress.allowed) return { direction: 'ingress', by: ingress.by };
    return undefined;
  }
}

/** The client's end: the node as a client is the node; as a server it has an address, which a block may hold. */
const callerOf = (party: Party): Endpoint => (party.place.kind === 'node' ? { kind: 'node' } : endpointOf(party));

const endpointOf = ({ place, address }: Party): Endpoint =>
  place.kind === 'pod' ? { kind: 'pod', pod: place.pod } : { kind: 'address', address };

const localPod = (pod: Pod, tag: number): LocalPod => ({
  network: 'test',
  containerID: pod.name,
  ifname: 'eth0',
  link: `tg${pod.name}`,
  namespace: pod.namespace,
  name: pod.name,
  labels: Object.fromEntries(pod.labels),
  given: { config: {}, call: {} },
  namedPorts: pod.namedPorts,
  addresses: pod.addresses,
  hostPorts: [],
  tag,
});
