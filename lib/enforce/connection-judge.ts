/** Which connections the policies in force forbid, whatever policies allowed them when they were made. */
import { formatAddress } from '../ip/address.ts';
import { addressOfKey, type TrackedEntry, type TrackedFlow } from '../kernel/conntrack-entry.ts';
import { IPPROTO } from '../kernel/conntrack-request.ts';
import type { Cluster } from '../policy/evaluate/cluster.ts';
import { FlowJudge, type PairVerdict } from '../policy/evaluate/flow-judge.ts';
import type { Endpoint, Flow, Protocol } from '../policy/model/model.ts';
import type { Goal } from './footing.ts';

const protocols: Readonly<Record<number, Protocol>> = {
  [IPPROTO.TCP]: 'TCP',
  [IPPROTO.UDP]: 'UDP',
  [IPPROTO.SCTP]: 'SCTP',
};

/** Verdicts on pairs of addresses that are kept during a look. */
const MOST_PAIRS = 4096;

/** By what connections are judged. */
export interface Judgement {
  readonly cluster: Cluster;
  /** Canonical texts of the addresses of this node's pods. */
  readonly pods: ReadonlySet<string>;
  readonly enforceEgressToNode: boolean;
}

export function judgementOf({ state }: Pick<Goal, 'state'>, cluster: Cluster): Judgement {
  const pods = new Set(Object.values(state.pods).flatMap(pod => pod.addresses));
  return { cluster, pods, enforceEgressToNode: state.settings.enforceEgressToNode };
}

/** Tells which connections no policy allows any more, as of its making. */
export class ConnectionJudge {
  readonly #judgement: Judgement;
  readonly #own: ReadonlySet<string>;
  readonly #flows: FlowJudge;
  /** By both ends; undefined where neither is a pod of this node, or where the node itself is the client. */
  readonly #pairs = new Map<string, PairVerdict | undefined>();

  /** @param own canonical texts of the node's own addresses */
  constructor(judgement: Judgement, own: ReadonlySet<string>) {
    const { cluster, enforceEgressToNode } = judgement;
    this.#judgement = judgement;
    this.#own = own;
    this.#flows = new FlowJudge(cluster, { enforceEgressToNode });
  }

  isForbidden({ entry }: TrackedFlow): boolean {
    const { protocol, port } = entry;
    const verdict = this.#verdictOn(entry);
    return verdict !== undefined && !verdict(protocols[protocol] ?? 'other', port);
  }

  #verdictOn({ from, to }: TrackedEntry): PairVerdict | undefined {
    const key = from + to;
    const known = this.#pairs.get(key);
    if (known || this.#pairs.has(key)) return known;
    const family = from.length === 4 ? 4 : 6;
    const verdict = this.#verdictBetween(formatAddress(addressOfKey(from)), formatAddress(addressOfKey(to)), family);
    if (this.#pairs.size >= MOST_PAIRS) this.#pairs.clear();
    this.#pairs.set(key, verdict);
    return verdict;
  }

  /** The node's own connections are never judged: probes must go on. */
  #verdictBetween(from: string, to: string, family: Flow['family']): PairVerdict | undefined {
    const { pods } = this.#judgement;
    if (this.#own.has(from) || (!pods.has(from) && !pods.has(to))) return undefined;
    const end = (address: string): Endpoint => ({ kind: 'address', address });
    return this.#flows.between(end(from), this.#own.has(to) ? { kind: 'node' } : end(to), family);
  }
}
