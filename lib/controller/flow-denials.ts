/** Denied flows out of denied packets: merged, named and, beyond the log's rate limit, summed up. */
import { protocolName } from '../flows/model.ts';
import { denialPrefix } from '../gate/denial.ts';
import { formatAddress } from '../ip/address.ts';
import type { LoggedPacket } from '../kernel/nflog.ts';
import type { Direction } from '../policy/model/model.ts';

export interface DeniedFlow {
  /** Seconds since 1970. */
  readonly time: number;
  readonly direction: Direction;
  /** `namespace/pod`, `node` or an address. */
  readonly from: string;
  readonly to: string;
  readonly source: string;
  readonly destination: string;
  readonly protocol: string;
  readonly sourcePort: number | null;
  readonly port: number | null;
  /** `Kind/namespace/name` of the policies that isolate the subject; none where its tag is unknown to the table. */
  readonly by: readonly string[];
  /** Tier, name and rule of the cluster policy that denied it, as far as a log's prefix reaches. */
  readonly rule?: string;
}

/** Packets that a chain denied and that were not shown one by one. */
export interface DeniedSum {
  readonly time: number;
  readonly direction: Direction;
  /** The policies of all pods that the chain judges. */
  readonly by: readonly string[];
  readonly packets: number;
}

/** Names of chains and addresses by the node's table and state at the moment. */
export interface NodeNames {
  readonly who: (address: string) => string;
  /**
   * Policies that the chain enforces: pods with the same rules share a chain, whosever policies the rules are.
   * @param subject the address of the pod that is judged: of its policies only
   */
  readonly policies: (chain: string, subject?: string) => readonly string[];
}

/** Seconds within which packets with the same ends are one flow. */
const MERGE = 10;
/** Flows that are remembered at once: a flood of new ones is summed up beyond. */
const REMEMBERED = 4096;

/** The chain whose end logged the packet, and the rule that it stands for, if told; undefined for a prefix that is not ours. */
function saidByPrefix(prefix: string): { readonly chain: string; readonly rule?: string } | undefined {
  const start = denialPrefix('');
  if (!prefix.startsWith(start)) return undefined;
  const [chain = '', ...words] = prefix.slice(start.length).trim().split(' ');
  return words.length === 0 ? { chain } : { chain, rule: words.join(' ') };
}

const directionOfChain = (chain: string): Direction => (/^(out-|egress)/.test(chain) ? 'egress' : 'ingress');

const tupleOf = ({ source, destination, protocol, sourcePort, destinationPort }: LoggedPacket): string =>
  [formatAddress(source), formatAddress(destination), protocol, sourcePort, destinationPort].join(' ');

/** The denying rule at the end of a chain. */
export interface DropCounter {
  readonly chain: string;
  /** The rule's handle: a chain that comes again has another. */
  readonly rule: number;
  readonly packets: number;
}

interface ChainCount {
  /** Packets that its counters knew of at the last look, since we began. */
  denied: number;
  /** Packets that the kernel has told of since, with its last word of a counter. */
  later: number;
  /** The number of denied packets that were logged or summed up. */
  told: number;
  /** Policies of the chain when it was last there. */
  by: readonly string[];
  /** Looks since the chain was last there. */
  gone: number;
}

/** Looks for which what is gone is remembered: the kernel's last word of it may be on its way. */
const LAST_WORD = 3;

export class Denials {
  /** When each flow was shown, oldest first. */
  readonly #shown = new Map<string, number>();
  readonly #chains = new Map<string, ChainCount>();
  /** The last known value of each counter, and for how many looks the counter has been gone. */
  readonly #counters = new Map<string, { packets: number; gone: number }>();

  #countOf(chain: string): ChainCount {
    const known = this.#chains.get(chain) ?? { denied: 0, later: 0, told: 0, by: [], gone: 0 };
    this.#chains.set(chain, known);
    return known;
  }

  /** A chain may be gone by the time that its packets are heard of. */
  #policiesOf(chain: string, names: NodeNames, subject?: string): readonly string[] {
    const count = this.#countOf(chain);
    const all = names.policies(chain);
    if (all.length > 0) count.by = all;
    const own = names.policies(chain, subject);
    return own.length > 0 ? own : count.by;
  }

  /** @returns the flow where it is to be shown, undefined where it belongs to one that was, or there are too many */
  take(packet: LoggedPacket, names: NodeNames): DeniedFlow | undefined {
    const said = saidByPrefix(packet.prefix);
    if (said === undefined) return undefined;
    const { chain, rule } = said;
    this.#forget(packet.time);
    const tuple = `${chain} ${tupleOf(packet)}`;
    const isKnown = this.#shown.has(tuple);
    if (!isKnown && this.#shown.size >= REMEMBERED) return undefined;
    this.#countOf(chain).told++;
    if (isKnown) return undefined;
    this.#shown.set(tuple, packet.time);
    const [source, destination] = [formatAddress(packet.source), formatAddress(packet.destination)];
    const direction = directionOfChain(chain);
    return {
      time: packet.time,
      direction,
      from: names.who(source),
      to: names.who(destination),
      source,
      destination,
      protocol: protocolName(packet.protocol),
      sourcePort: packet.sourcePort ?? null,
      port: packet.destinationPort ?? null,
      by: this.#policiesOf(chain, names, direction === 'egress' ? source : destination),
      ...(rule === undefined ? {} : { rule }),
    };
  }

  #forget(now: number): void {
    for (const [tuple, shown] of this.#shown) {
      if (now - shown < MERGE) return;
      this.#shown.delete(tuple);
    }
  }

  /** Takes these values as the start: packets that the chains denied earlier are not reported. */
  begin(counters: readonly DropCounter[]): void {
    for (const { chain, rule, packets } of counters) this.#counters.set(`${chain} ${rule}`, { packets, gone: 0 });
  }

  /** @returns packets since it was last counted */
  #count({ chain, rule, packets }: DropCounter): number {
    const key = `${chain} ${rule}`;
    const before = this.#counters.get(key)?.packets ?? 0;
    this.#counters.set(key, { packets, gone: 0 });
    // Fewer than before: its table was made anew.
    return packets >= before ? packets - before : packets;
  }

  /** The kernel's last word of a counter that was taken out. */
  close(counter: DropCounter): void {
    this.#countOf(counter.chain).later += this.#count(counter);
    this.#counters.delete(`${counter.chain} ${counter.rule}`);
  }

  /**
   * Sums the packets that the counters knew at the last look, and that the log has not shown by this one: the kernel gathers
   * packets for a while before it sends them.
   */
  sum(counters: readonly DropCounter[], time: number, names: NodeNames): DeniedSum[] {
    const sums: DeniedSum[] = [];
    for (const [chain, count] of this.#chains) {
      const packets = count.denied - count.told;
      if (packets <= 0) continue;
      count.told += packets;
      sums.push({ time, direction: directionOfChain(chain), by: this.#policiesOf(chain, names), packets });
    }
    for (const known of [...this.#chains.values(), ...this.#counters.values()]) known.gone++;
    for (const counter of counters) {
      const count = this.#countOf(counter.chain);
      count.denied += this.#count(counter);
      count.gone = 0;
      this.#policiesOf(counter.chain, names);
    }
    for (const count of this.#chains.values()) {
      count.denied += count.later;
      count.later = 0;
    }
    for (const [chain, { gone }] of this.#chains) if (gone >= LAST_WORD) this.#chains.delete(chain);
    for (const [key, { gone }] of this.#counters) if (gone >= LAST_WORD) this.#counters.delete(key);
    return sums;
  }
}
