/** A rule's peers, looked up: for who asks the same rules about many pods. */
import type { Address, Family, Range } from '../../ip/address.ts';
import { membersOf } from '../compile/members.ts';
import { RangeIndex, rangesOfBlocks } from '../compile/ranges.ts';
import type { NodePeer, Pod, PolicyRule } from '../model/model.ts';
import type { Party } from '../model/party.ts';
import { podPeerText, selectsPod } from '../model/selector.ts';
import type { Cluster } from './cluster.ts';

export class RuleMatcher {
  readonly #cluster: Cluster;
  readonly #rule: PolicyRule;
  readonly #pods: ReadonlySet<Pod>;
  readonly #nodes: readonly NodePeer[];
  readonly #ranges: Readonly<Record<Family, RangeIndex<undefined>>>;

  constructor(cluster: Cluster, rule: PolicyRule) {
    this.#cluster = cluster;
    this.#rule = rule;
    const peers = rule.peers === 'any' ? [] : rule.peers;
    const selectors = new Map(
      peers.filter(peer => peer.kind === 'pods').map(peer => [podPeerText(peer), peer] as const),
    );
    const pods = new Set<Pod>();
    for (const peer of selectors.values()) for (const pod of membersOf(cluster, peer)) pods.add(pod);
    this.#pods = pods;
    this.#nodes = peers.filter(peer => peer.kind === 'nodes');
    const blocks = peers.filter(peer => peer.kind === 'block');
    const index = (family: Family) =>
      new RangeIndex(rangesOfBlocks(blocks, family).map(range => [range, undefined] as const));
    this.#ranges = { 4: index(4), 6: index(6) };
  }

  /** Whether one of the rule's peers means the party, as `matchesPeer` has it of each. */
  matchesPeer({ peer, address }: Party): boolean {
    if (this.#rule.peers === 'any') return true;
    if (peer && this.#isMember(peer)) return true;
    return address !== undefined && (this.#hasAddress(address) || this.#cluster.isNodeOf(this.#nodes, address));
  }

  #isMember(pod: Pod): boolean {
    if (this.#cluster.find(pod) === pod) return this.#pods.has(pod);
    const labels = this.#cluster.namespaceLabels(pod.namespace);
    return [...(this.#rule.peers as Exclude<PolicyRule['peers'], 'any'>)].some(
      each => each.kind === 'pods' && selectsPod(each, pod, labels),
    );
  }

  #hasAddress({ family, value }: Address): boolean {
    const only: Range = { family, first: value, last: value };
    return this.#ranges[family].meeting(only) !== undefined;
  }
}
