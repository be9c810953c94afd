/** Denied flows out of denied packets: merged, named and, beyond the log's rate limit, summed up. */
import { denialPrefix } from '../enforce/gate.ts';
import { formatAddress } from '../ip/address.ts';
import type { LoggedPacket } from '../kernel/nflog.ts';
import type { Direction } from '../policy/model.ts';

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
}

/** Packets that a chain denied and that were not shown one by one. */
export interface DeniedSum {
  readonly time: number;
  readonly direction: Direction;
  readonly by: readonly string[];
  readonly packets: number;
}

/** What the node's table and state say of chains and addresses at the moment. */
export interface Names {
  readonly who: (address: string) => string;
  readonly policies: (chain: string) => readonly string[];
}

/** Seconds within which packets with the same ends are one flow. */
const MERGE = 10;
/** Flows that are remembered at once: a flood of new ones is summed up beyond. */
const REMEMBERED = 4096;

const protocolNames: Readonly<Record<number, string>> = { 1: 'ICMP', 6: 'TCP', 17: 'UDP', 58: 'ICMPv6', 132: 'SCTP' };

/** The chain whose end logged the packet; undefined for a prefix that is not ours. */
export function chainOfPrefix(prefix: string): string | undefined {
  const start = denialPrefix('');
  return prefix.startsWith(start) ? prefix.slice(start.length).trim() : undefined;
}

export const directionOfChain = (chain: string): Direction => (/^(out-|egress$)/.test(chain) ? 'egress' : 'ingress');

const tupleOf = ({ source, destination, protocol, sourcePort, destinationPort }: LoggedPacket): string =>
  [formatAddress(source), formatAddress(destination), protocol, sourcePort, destinationPort].join(' ');

interface ChainCount {
  /** What the kernel's counter stood at when it was last looked at. */
  counter: number;
  /** Packets that the counter has known of since we began. */
  denied: number;
  /** Of these, those that were logged or summed up. */
  told: number;
}

export class Denials {
  /** When each flow was shown, oldest first. */
  readonly #shown = new Map<string, number>();
  readonly #chains = new Map<string, ChainCount>();

  #countOf(chain: string): ChainCount {
    const known = this.#chains.get(chain) ?? { counter: 0, denied: 0, told: 0 };
    this.#chains.set(chain, known);
    return known;
  }

  /** @returns the flow where it is to be shown, undefined where it belongs to one that was, or there are too many */
  take(packet: LoggedPacket, names: Names): DeniedFlow | undefined {
    const chain = chainOfPrefix(packet.prefix);
    if (chain === undefined) return undefined;
    this.#forget(packet.time);
    const tuple = `${chain} ${tupleOf(packet)}`;
    const isKnown = this.#shown.has(tuple);
    if (!isKnown && this.#shown.size >= REMEMBERED) return undefined;
    this.#countOf(chain).told++;
    if (isKnown) return undefined;
    this.#shown.set(tuple, packet.time);
    const [source, destination] = [formatAddress(packet.source), formatAddress(packet.destination)];
    return {
      time: packet.time,
      direction: directionOfChain(chain),
      from: names.who(source),
      to: names.who(destination),
      source,
      destination,
      protocol: protocolNames[packet.protocol] ?? String(packet.protocol),
      sourcePort: packet.sourcePort ?? null,
      port: packet.destinationPort ?? null,
      by: names.policies(chain),
    };
  }

  #forget(now: number): void {
    for (const [tuple, shown] of this.#shown) {
      if (now - shown < MERGE) return;
      this.#shown.delete(tuple);
    }
  }

  /** Where counting starts: what the chains denied before we looked is not ours to tell. */
  begin(counters: ReadonlyMap<string, number>): void {
    for (const [chain, packets] of counters) this.#countOf(chain).counter = packets;
  }

  /**
   * What the chains' counters knew at the last look and the log has not told by this one: the kernel gathers packets for
   * a while before it sends them. A chain that was replaced counts from nothing.
   */
  sum(counters: ReadonlyMap<string, number>, time: number, names: Names): DeniedSum[] {
    const sums: DeniedSum[] = [];
    for (const [chain, packets] of counters) {
      const count = this.#countOf(chain);
      const untold = count.denied - count.told;
      if (untold > 0) {
        count.told += untold;
        sums.push({ time, direction: directionOfChain(chain), by: names.policies(chain), packets: untold });
      }
      count.denied += packets >= count.counter ? packets - count.counter : packets;
      count.counter = packets;
    }
    for (const chain of this.#chains.keys()) if (!counters.has(chain)) this.#chains.delete(chain);
    return sums;
  }
}
