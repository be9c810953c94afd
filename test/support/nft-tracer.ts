/**
 * Traces a packet through a table value, by the kernel's evaluation of rules.
 * A packet comes as the hook sees it (what a route or a connection is known to be by then is given, not computed);
 * absent fields are what the kernel has no answer for, and a rule that asks for one does not match.
 */

import { boundsOf, isSingle } from '../../lib/nft/datatype.ts';
import type {
  CounterRef,
  Datum,
  Key,
  Lookup,
  Match,
  NamedSet,
  Nat,
  NatTarget,
  NetfilterHook,
  NftVerdict,
  Rule,
  Selector,
  Statement,
  Table,
} from '../../lib/nft/model.ts';
import { CT_STATE } from '../../lib/nft/statements.ts';

export interface Packet {
  readonly family: 4 | 6;
  readonly saddr: bigint;
  readonly daddr: bigint;
  readonly l4proto: number;
  readonly sport?: number;
  readonly dport?: number;
  readonly tcpFlags?: number;
  /** Type of ICMP or ICMPv6, by l4proto. */
  readonly icmpType?: number;
  /** Or the IPv4 TTL. */
  readonly hoplimit?: number;
  /** Absent for a packet of the node's own. */
  readonly iif?: number;
  readonly iifname?: string;
  readonly iifgroup?: number;
  /** Absent for a packet to the node, and before routing. */
  readonly oif?: number;
  readonly oifname?: string;
  readonly oifgroup?: number;
  /** One of CT_STATE; untracked where absent. */
  readonly ctState?: number;
  readonly ctStatus?: number;
  readonly ctDirection?: number;
  readonly ctMark?: number;
  readonly mark?: number;
  /** `fib saddr . iif oif`: is there a way back to the source through where the packet came from? */
  readonly sourceRouted?: boolean;
  /** `fib daddr type`, one of ADDRTYPE. */
  readonly destinationType?: number;
}

/** A rule that took effect: it decided, jumped or changed something. */
export interface Step {
  readonly chain: string;
  /** Index of the rule; the number of rules where the chain's policy decided. */
  readonly rule: number;
  readonly comment?: string;
}

export interface Translation {
  readonly kind: 'dnat' | 'snat' | 'masquerade';
  readonly address?: bigint;
  readonly port?: number;
}

export interface Trace {
  readonly verdict: 'accept' | 'drop';
  readonly rejected: boolean;
  readonly path: readonly Step[];
  /** The packet as it leaves the hook: DNAT and marks applied. */
  readonly packet: Packet;
  readonly translations: readonly Translation[];
  /** Prefixes that were logged. */
  readonly logged: readonly string[];
  /** Named counters that counted it. */
  readonly counted: readonly string[];
}

export interface TracerOptions {
  /** Whether the packet is within the rate of each `limit`: by default it is. */
  readonly withinLimit?: boolean;
}

type Value = number | bigint | string;

interface Context {
  packet: Packet;
  rejected: boolean;
  readonly path: Step[];
  readonly translations: Translation[];
  readonly logged: string[];
  readonly counted: string[];
}

/** The outcome of a rule: a verdict, or `next` for the next rule. */
type Outcome = NftVerdict | typeof NEXT;
const NEXT = 'next';
/** One statement: goes on with the rule, leaves it, or ends it. */
type Run = (context: Context) => Outcome | undefined;

const tcp = (packet: Packet) => (packet.l4proto === 6 ? packet : undefined);
const udp = (packet: Packet) => (packet.l4proto === 17 ? packet : undefined);
const sctp = (packet: Packet) => (packet.l4proto === 132 ? packet : undefined);
const ip = (packet: Packet) => (packet.family === 4 ? packet : undefined);
const ip6 = (packet: Packet) => (packet.family === 6 ? packet : undefined);

/** Undefined where the kernel breaks off the rule. An interface that is not there has index 0 and no name, but no group. */
const READERS: Readonly<Record<Selector, (packet: Packet) => Value | undefined>> = {
  'meta iif': packet => packet.iif ?? 0,
  'meta oif': packet => packet.oif ?? 0,
  'meta iifname': packet => packet.iifname ?? '',
  'meta oifname': packet => packet.oifname ?? '',
  'meta iifgroup': packet => packet.iifgroup,
  'meta oifgroup': packet => packet.oifgroup,
  'meta mark': packet => packet.mark ?? 0,
  'meta nfproto': packet => (packet.family === 4 ? 2 : 10),
  'meta l4proto': packet => packet.l4proto,
  'ct state': packet => packet.ctState ?? CT_STATE.untracked,
  'ct status': packet => packet.ctStatus,
  'ct direction': packet => packet.ctDirection,
  'ct mark': packet => (tracked(packet) ? (packet.ctMark ?? 0) : undefined),
  'ip saddr': packet => ip(packet)?.saddr,
  'ip daddr': packet => ip(packet)?.daddr,
  'ip protocol': packet => ip(packet)?.l4proto,
  'ip ttl': packet => ip(packet)?.hoplimit,
  'ip6 saddr': packet => ip6(packet)?.saddr,
  'ip6 daddr': packet => ip6(packet)?.daddr,
  'ip6 hoplimit': packet => ip6(packet)?.hoplimit,
  'th sport': packet => packet.sport,
  'th dport': packet => packet.dport,
  'tcp sport': packet => tcp(packet)?.sport,
  'tcp dport': packet => tcp(packet)?.dport,
  'tcp flags': packet => tcp(packet)?.tcpFlags,
  'udp sport': packet => udp(packet)?.sport,
  'udp dport': packet => udp(packet)?.dport,
  'sctp sport': packet => sctp(packet)?.sport,
  'sctp dport': packet => sctp(packet)?.dport,
  'icmp type': packet => (packet.family === 4 && packet.l4proto === 1 ? packet.icmpType : undefined),
  'icmpv6 type': packet => (packet.family === 6 && packet.l4proto === 58 ? packet.icmpType : undefined),
  'fib saddr . iif oif': packet => (packet.sourceRouted === undefined ? undefined : Number(packet.sourceRouted)),
  'fib daddr type': packet => packet.destinationType,
};

const tracked = (packet: Packet): boolean => packet.ctState !== undefined && packet.ctState !== CT_STATE.untracked;

function matchOf({ selector, mask, op, datum }: Match): Run {
  const read = READERS[selector];
  const { first, last } = boundsOf(datum);
  const wildcard = typeof datum === 'string' && datum.endsWith('*') ? datum.slice(0, -1) : undefined;
  const holds = (value: Value): boolean => {
    if (op === 'any') return (Number(value) & Number(datum)) !== 0;
    if (mask !== undefined) return ((Number(value) & mask) >>> 0 === Number(datum)) === (op === '==');
    const inside = wildcard === undefined ? value >= first && value <= last : String(value).startsWith(wildcard);
    return inside === (op === '==');
  };
  return ({ packet }) => {
    const value = read(packet);
    return value !== undefined && holds(value) ? undefined : NEXT;
  };
}

/** The lookup of a key in a set or map: `undefined` for a miss, `true` or the mapped value for a hit. */
type Index = (key: readonly Value[]) => true | NftVerdict | CounterRef | Key | undefined;

interface Entry {
  readonly key: Key;
  readonly value: true | NftVerdict | CounterRef | Key;
}

function indexOf(entries: readonly Entry[]): Index {
  const exact = new Map<Value, Entry['value']>();
  const ranges: { readonly bounds: readonly ReturnType<typeof boundsOf>[]; readonly value: Entry['value'] }[] = [];
  for (const { key, value } of entries) {
    if (key.every(isSingle)) exact.set(exactKey(key.map(datum => boundsOf(datum).first)), value);
    else ranges.push({ bounds: key.map(boundsOf), value });
  }
  if (entries[0]?.key.length === 1) ranges.sort((a, b) => (a.bounds[0]!.first < b.bounds[0]!.first ? -1 : 1));
  return key => {
    const hit = exact.get(exactKey(key));
    if (hit !== undefined || ranges.length === 0) return hit;
    if (key.length > 1) return ranges.find(({ bounds }) => bounds.every((bound, i) => within(bound, key[i]!)))?.value;
    let low = 0;
    let high = ranges.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (ranges[middle]!.bounds[0]!.first <= key[0]!) low = middle;
      else high = middle - 1;
    }
    const { bounds, value } = ranges[low]!;
    return within(bounds[0]!, key[0]!) ? value : undefined;
  };
}

const within = ({ first, last }: ReturnType<typeof boundsOf>, value: Value): boolean => value >= first && value <= last;

const exactKey = (key: readonly Value[]): Value => (key.length === 1 ? key[0]! : key.join(' '));

function readKey(selectors: readonly Selector[], packet: Packet): Value[] | undefined {
  const key: Value[] = [];
  for (const selector of selectors) {
    const value = READERS[selector](packet);
    if (value === undefined) return undefined;
    key.push(value);
  }
  return key;
}

/** Evaluates one table; rules and sets are prepared when they are first met. */
class Tracer {
  readonly #table: Table;
  readonly #withinLimit: boolean;
  readonly #rules: ReadonlyMap<string, readonly Rule[]>;
  readonly #sets: ReadonlyMap<string, NamedSet>;
  readonly #chains = new Map<string, readonly (readonly Run[])[]>();
  readonly #indexes = new Map<string, Index>();

  constructor(table: Table, { withinLimit = true }: TracerOptions) {
    this.#table = table;
    this.#withinLimit = withinLimit;
    this.#rules = new Map(table.chains.map(({ name, rules }) => [name, rules]));
    this.#sets = new Map(table.sets.map(set => [set.name, set]));
  }

  trace(hook: NetfilterHook, packet: Packet): Trace {
    const context: Context = { packet, rejected: false, path: [], translations: [], logged: [], counted: [] };
    const bases = this.#table.chains
      .filter(({ base }) => base?.hook === hook)
      .sort((a, b) => a.base!.priority - b.base!.priority);
    for (const { name, base, rules } of bases) {
      // Only the first packet of a connection is translated by rules; the rest follows it.
      if (base!.type === 'nat' && ![CT_STATE.new, CT_STATE.related].some(state => state === context.packet.ctState))
        continue;
      let verdict = this.#run(name, context, 0);
      if (verdict === undefined && base!.policy === 'drop') {
        context.path.push({ chain: name, rule: rules.length });
        verdict = 'drop';
      }
      if (verdict === 'drop') return { ...context, verdict };
    }
    return { ...context, verdict: 'accept' };
  }

  /** Undefined where the chain ends, or returns, without a decision. */
  #run(name: string, context: Context, depth: number): 'accept' | 'drop' | undefined {
    if (depth > 16) throw new Error(`Cannot follow jumps to chain ${name}: deeper than 16`);
    const rules = this.#chain(name);
    for (let i = 0; i < rules.length; i++) {
      const outcome = runRule(rules[i]!, context);
      if (outcome === NEXT) continue;
      const { comment } = this.#rules.get(name)![i]!;
      context.path.push({ chain: name, rule: i, ...(comment === undefined ? {} : { comment }) });
      if (outcome.kind === 'accept' || outcome.kind === 'drop') return outcome.kind;
      if (outcome.kind === 'return') return undefined;
      const verdict = this.#run(outcome.chain, context, depth + 1);
      if (verdict !== undefined || outcome.kind === 'goto') return verdict;
    }
    return undefined;
  }

  #chain(name: string): readonly (readonly Run[])[] {
    const known = this.#chains.get(name);
    if (known) return known;
    const rules = this.#rules.get(name);
    if (!rules) throw new Error(`Cannot jump to chain ${name}: there is none`);
    const prepared = rules.map(({ statements }) => statements.map(statement => this.#prepare(statement)));
    this.#chains.set(name, prepared);
    return prepared;
  }

  #index(name: string): Index {
    const known = this.#indexes.get(name);
    if (known) return known;
    const set = this.#sets.get(name);
    if (!set) throw new Error(`Cannot look up in set ${name}: there is none`);
    const index = indexOf(set.elements.map(({ key, value }) => ({ key, value: value ?? true })));
    this.#indexes.set(name, index);
    return index;
  }

  #prepare(statement: Statement): Run {
    switch (statement.kind) {
      case 'match':
        return matchOf(statement);
      case 'lookup':
        return this.#lookup(statement);
      case 'vmap': {
        const { key, map } = statement;
        return ({ packet }) => {
          const values = readKey(key, packet);
          const verdict = values && this.#index(map)(values);
          return verdict && verdict !== true && 'kind' in verdict ? verdict : NEXT;
        };
      }
      case 'counter': {
        const { name } = statement;
        return context => {
          if (name !== undefined) context.counted.push(name);
          return undefined;
        };
      }
      case 'counter-map': {
        const { key, map } = statement;
        return context => {
          const values = readKey(key, context.packet);
          const found = values && this.#index(map)(values);
          if (!found || found === true || !('counter' in found)) return NEXT;
          context.counted.push(found.counter);
          return undefined;
        };
      }
      case 'mark-map': {
        const { key, map } = statement;
        return context => {
          const values = readKey(key, context.packet);
          const found = values && this.#index(map)(values);
          if (!Array.isArray(found)) return NEXT;
          context.packet = { ...context.packet, mark: Number(found[0]) };
          return undefined;
        };
      }
      case 'log':
        return context => {
          context.logged.push(statement.prefix ?? '');
          return undefined;
        };
      case 'limit':
        return () => (this.#withinLimit ? undefined : NEXT);
      case 'set-mark':
        return context => {
          const { of, mark, mask } = statement;
          const field = of === 'meta' ? 'mark' : 'ctMark';
          const old = context.packet[field] ?? 0;
          const set = mask === undefined ? mark : ((old & ~mask) | (mark & mask)) >>> 0;
          if (of === 'meta' || tracked(context.packet)) context.packet = { ...context.packet, [field]: set };
          return undefined;
        };
      case 'reject':
        return context => {
          if (statement.with === 'tcp reset' && context.packet.l4proto !== 6) return NEXT;
          context.rejected = true;
          return { kind: 'drop' };
        };
      case 'masquerade':
        return context => {
          context.translations.push({ kind: 'masquerade' });
          return { kind: 'accept' };
        };
      case 'dnat':
      case 'snat':
        return this.#nat(statement);
      case 'notrack':
        return context => {
          if (context.packet.ctState === undefined) context.packet = { ...context.packet, ctState: CT_STATE.untracked };
          return undefined;
        };
      case 'foreign':
        throw new Error('Cannot trace a rule that tollgate did not write');
      default:
        return () => statement;
    }
  }

  #lookup({ key, op, set }: Lookup): Run {
    const anonymous =
      typeof set === 'string' ? undefined : indexOf(set.map(element => ({ key: element, value: true })));
    return ({ packet }) => {
      const values = readKey(key, packet);
      if (!values) return NEXT;
      const index = anonymous ?? this.#index(String(set));
      return (index(values) !== undefined) === (op === '==') ? undefined : NEXT;
    };
  }

  /** As in the kernel, a translation ends the chains of this type with `accept`. */
  #nat({ kind, family, to }: Nat): Run {
    return context => {
      if (context.packet.family !== family) return NEXT;
      const target = this.#target(to, context.packet);
      if (!target) return NEXT;
      context.translations.push({ kind, ...target });
      if (kind === 'dnat') {
        const { address: daddr, port: dport } = target;
        context.packet = { ...context.packet, daddr, ...(dport === undefined ? {} : { dport }) };
      }
      return { kind: 'accept' };
    };
  }

  #target(to: NatTarget, packet: Packet): { readonly address: bigint; readonly port?: number } | undefined {
    if (!('map' in to)) {
      const { address, port } = to;
      return port === undefined ? { address: address.value } : { address: address.value, port };
    }
    const values = readKey(to.key, packet);
    const hit = values && this.#index(to.map)(values);
    if (!hit || hit === true || 'kind' in hit || 'counter' in hit) return undefined;
    const [address, port] = hit.map((datum: Datum) => boundsOf(datum).first);
    return { address: BigInt(address!), ...(port === undefined ? {} : { port: Number(port) }) };
  }
}

function runRule(statements: readonly Run[], context: Context): Outcome {
  for (const run of statements) {
    const outcome = run(context);
    if (outcome !== undefined) return outcome;
  }
  return NEXT;
}

/** A function that tells what the table does to a packet in a hook. */
export function tracerOf(table: Table, options: TracerOptions = {}): (hook: NetfilterHook, packet: Packet) => Trace {
  const tracer = new Tracer(table, options);
  return (hook, packet) => tracer.trace(hook, packet);
}
