/** Denied flows out of denied packets: merged, named and, beyond the log's rate limit, summed up. */
import { protocolName } from '../flows/model.ts';
import { saidByPrefix } from '../gate/denial.ts';
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

/** Packets that a chain or rule denied and that were not shown one by one. */
export interface DeniedSum {
  readonly time: number;
  readonly direction: Direction;
  /** The policies of all pods that it judges. */
  readonly by: readonly string[];
  readonly packets: number;
}

/** Names of chains and addresses by the node's table and state at the moment. */
export interface NodeNames {
  readonly who: (address: string) => string;
  /**
   * Policies that a chain, or a rule of it, enforces: pods with the same rules share a chain, whosever policies the rules are.
   * @param denial as `denialName` names it
   * @param subject the address of the pod that is judged: of its policies only
   */
  readonly policies: (denial: string, subject?: string) => readonly string[];
}

/** Seconds within which packets with the same ends are one flow. */
const MERGE = 10;
/** Flows that are remembered at once: a flood of new ones is summed up beyond. */
const REMEMBERED = 4096;

const directionOf = (denial: string): Direction => (/^(out-|egress)/.test(denial) ? 'egress' : 'ingress');

const tupleOf = ({ source, destination, protocol, sourcePort, destinationPort }: LoggedPacket): string =>
  [formatAddress(source), formatAddress(destination), protocol, sourcePort, destinationPort].join(' ');

/** A rule that denies. */
export interface DropCounter {
  /** @see denialName */
  readonly denial: string;
  /** The rule's handle: a chain that comes again has another. */
  readonly rule: number;
  readonly packets: number;
}

interface DenialCount {
  /** Packets that its counters knew of at the last look, since we began. */
  denied: number;
  /** Packets that the kernel has told of since, with its last word of a counter. */
  later: number;
  /** The number of denied packets that were logged or summed up. */
  told: number;
  /** Policies of the chain or rule when it was last there. */
  by: readonly string[];
  /** Looks since then. */
  gone: number;
}

/** Looks for which what is gone is remembered: the kernel's last word of it may be on its way. */
const LAST_WORD = 3;

export class Denials {
  /** When each flow was shown, oldest first. */
  readonly #shown = new Map<string, number>();
  readonly #denials = new Map<string, DenialCount>();
  /** The last known value of each counter, and for how many looks the counter has been gone. */
  readonly #counters = new Map<string, { packets: number; gone: number }>();

  #countOf(denial: string): DenialCount {
    const known = this.#denials.get(denial) ?? { denied: 0, later: 0, told: 0, by: [], gone: 0 };
    this.#denials.set(denial, known);
    return known;
  }

  /** A denial may be gone by the time that its packets are heard of. */
  #policiesOf(denial: string, names: NodeNames, subject?: string): readonly string[] {
    const count = this.#countOf(denial);
    const all = names.policies(denial);
    if (all.length > 0) count.by = all;
    const own = names.policies(denial, subject);
    return own.length > 0 ? own : count.by;
  }

  /** @returns the flow where it is to be shown, undefined where it belongs to one that was, or there are too many */
  take(packet: LoggedPacket, names: NodeNames): DeniedFlow | undefined {
    const said = saidByPrefix(packet.prefix);
    if (said === undefined) return undefined;
    const { denial, rule } = said;
    this.#forget(packet.time);
    const tuple = `${denial} ${tupleOf(packet)}`;
    const isKnown = this.#shown.has(tuple);
    if (!isKnown && this.#shown.size >= REMEMBERED) return undefined;
    this.#countOf(denial).told++;
    if (isKnown) return undefined;
    this.#shown.set(tuple, packet.time);
    const [source, destination] = [formatAddress(packet.source), formatAddress(packet.destination)];
    const direction = directionOf(denial);
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
      by: this.#policiesOf(denial, names, direction === 'egress' ? source : destination),
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
    for (const { denial, rule, packets } of counters) this.#counters.set(`${denial} ${rule}`, { packets, gone: 0 });
  }

  /** @returns packets since it was last counted */
  #count({ denial, rule, packets }: DropCounter): number {
    const key = `${denial} ${rule}`;
    const before = this.#counters.get(key)?.packets ?? 0;
    this.#counters.set(key, { packets, gone: 0 });
    // Fewer than before: its table was made anew.
    return packets >= before ? packets - before : packets;
  }

  /** The kernel's last word of a counter that was taken out. */
  close(counter: DropCounter): void {
    this.#countOf(counter.denial).later += this.#count(counter);
    this.#counters.delete(`${counter.denial} ${counter.rule}`);
  }

  /**
   * Sums the packets that the counters knew at the last look, and that the log has not shown by this one: the kernel gathers
   * packets for a while before it sends them.
   */
  sum(counters: readonly DropCounter[], time: number, names: NodeNames): DeniedSum[] {
    const sums: DeniedSum[] = [];
    for (const [denial, count] of this.#denials) {
      const packets = count.denied - count.told;
      if (packets <= 0) continue;
      count.told += packets;
      sums.push({ time, direction: directionOf(denial), by: this.#policiesOf(denial, names), packets });
    }
    for (const known of [...this.#denials.values(), ...this.#counters.values()]) known.gone++;
    for (const counter of counters) {
      const count = this.#countOf(counter.denial);
      count.denied += this.#count(counter);
      count.gone = 0;
      this.#policiesOf(counter.denial, names);
    }
    for (const count of this.#denials.values()) {
      count.denied += count.later;
      count.later = 0;
    }
    for (const [denial, { gone }] of this.#denials) if (gone >= LAST_WORD) this.#denials.delete(denial);
    for (const [key, { gone }] of this.#counters) if (gone >= LAST_WORD) this.#counters.delete(key);
    return sums;
  }
}
