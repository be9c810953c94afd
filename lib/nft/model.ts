/**
 * An nftables table as a value: chains, rules, sets, maps and counters in nft's own words.
 * From one such value come the text (`text.ts`), the kernel's expressions (`compile.ts`) and the bytes (`encode.ts`);
 * from the kernel's dump comes one back (`decode.ts`).
 */

import type { Address, Prefix, Range } from '../ip/address.ts';

export type TableFamily = 'inet' | 'ip' | 'ip6';

export interface Table {
  readonly family: TableFamily;
  readonly name: string;
  /** At most 253 bytes of UTF-8. The kernel cannot change it in place: `diff` replaces the table, in one transaction. */
  readonly comment?: string;
  /** NFT_TABLE_F_DORMANT: no packet sees any of its chains. */
  readonly dormant?: true;
  readonly chains: readonly Chain[];
  readonly sets: readonly NamedSet[];
  readonly counters: readonly CounterStatement[];
}

/** We make no `ingress` chain, but another program may put one into the table. */
export type NetfilterHook = 'prerouting' | 'input' | 'forward' | 'output' | 'postrouting' | 'ingress';
export type ChainType = 'filter' | 'nat' | 'route';

/** The hook of a base chain: the kernel calls such a chain; nothing can jump to it. */
export interface Base {
  readonly type: ChainType;
  readonly hook: NetfilterHook;
  /** Lower runs earlier: raw -300, dstnat -100, filter 0, srcnat 100. */
  readonly priority: number;
  readonly policy: 'accept' | 'drop';
}

export interface Chain {
  readonly name: string;
  readonly comment?: string;
  /** Absent in a regular chain, which is reached by jump or goto only. */
  readonly base?: Base;
  readonly rules: readonly Rule[];
}

export interface Rule {
  readonly statements: readonly Statement[];
  /** Kept up to 128 bytes of UTF-8, like all comments but the table's. */
  readonly comment?: string;
}

/** nft's names; how wide each is and which byte order it has stands in `datatype.ts`. */
export type Datatype =
  | 'ipv4_addr'
  | 'ipv6_addr'
  | 'inet_proto'
  | 'inet_service'
  | 'nf_proto'
  | 'icmp_type'
  | 'icmpv6_type'
  | 'tcp_flag'
  | 'mark'
  | 'devgroup'
  | 'iface_index'
  | 'ifname'
  | 'ct_state'
  | 'ct_status'
  | 'ct_dir'
  | 'fib_addrtype'
  | 'boolean'
  | 'integer';

/** Inclusive at both ends: ports, or any other number. */
export interface Span {
  readonly first: number;
  readonly last: number;
}

/**
 * One field of a key, of a mapped value or of a comparison; the selector or the set says its datatype.
 * Text is an interface name. Prefix, Range and Span need an interval set, or stand alone in a match.
 */
export type Datum = number | string | Address | Prefix | Range | Span;

/** One datum for each field of the key. */
export type Key = readonly Datum[];

export type NftVerdict =
  | { readonly kind: 'accept' }
  | { readonly kind: 'drop' }
  | { readonly kind: 'return' }
  | { readonly kind: 'jump'; readonly chain: string }
  | { readonly kind: 'goto'; readonly chain: string };

/** A named counter as a map's value. While an element leads to it, it cannot be deleted. */
export interface CounterRef {
  readonly counter: string;
}

export interface Element {
  readonly key: Key;
  /** In a map only: a verdict, a counter, or one datum for each field of the map's value. */
  readonly value?: NftVerdict | CounterRef | Key;
  readonly comment?: string;
}

/** A set, or (with `value`) a map: the kernel makes no other difference. */
export interface NamedSet {
  readonly name: string;
  readonly comment?: string;
  /** More than one datatype is a concatenation, `ipv4_addr . inet_proto . inet_service`. */
  readonly key: readonly Datatype[];
  readonly value?: 'verdict' | 'counter' | readonly Datatype[];
  /** Keys may be prefixes, ranges and spans, disjoint from each other (in a concatenation: as whole keys). */
  readonly interval?: boolean;
  readonly elements: readonly Element[];
}

/** A named counter. It survives the rules that count with it; what it has counted is not part of its identity. */
export interface CounterStatement {
  readonly name: string;
  readonly comment?: string;
}

/** Field of a packet that a rule looks at, written as nft writes it; `selector.ts` says how the kernel loads each. */
export type Selector =
  | 'meta iif'
  | 'meta oif'
  | 'meta iifname'
  | 'meta oifname'
  | 'meta iifgroup'
  | 'meta oifgroup'
  | 'meta mark'
  | 'meta nfproto'
  | 'meta l4proto'
  | 'ct state'
  | 'ct status'
  | 'ct direction'
  | 'ct mark'
  | 'ip saddr'
  | 'ip daddr'
  | 'ip protocol'
  | 'ip ttl'
  | 'ip6 saddr'
  | 'ip6 daddr'
  | 'ip6 hoplimit'
  | 'th sport'
  | 'th dport'
  | 'tcp sport'
  | 'tcp dport'
  | 'tcp flags'
  | 'udp sport'
  | 'udp dport'
  | 'sctp sport'
  | 'sctp dport'
  | 'icmp type'
  | 'icmpv6 type'
  | 'fib saddr . iif oif'
  | 'fib daddr type';

/**
 * `any`: at least one of these bits is set, which is what nft means by `ct state established,related`.
 */
export type MatchOp = '==' | '!=' | 'any';

/** One selector against one datum, under a mask or not: `meta iifgroup & 0xffff0000 == 0x74670000`, `tcp dport 80-90`. */
export interface Match {
  readonly kind: 'match';
  readonly selector: Selector;
  readonly mask?: number;
  readonly op: MatchOp;
  readonly datum: Datum;
}

/** One selector or a concatenation in a named set (text) or in an anonymous one (its keys). */
export interface Lookup {
  readonly kind: 'lookup';
  readonly key: readonly Selector[];
  readonly op: '==' | '!=';
  readonly set: string | readonly Key[];
}

/** `meta iifgroup vmap @egress_by_tag`; where the map has no such key, evaluation goes on with the next rule. */
export interface VerdictMap {
  readonly kind: 'vmap';
  readonly key: readonly Selector[];
  readonly map: string;
}

/** `counter`, or with a name `counter name "x"`. */
export interface Count {
  readonly kind: 'counter';
  readonly name?: string;
}

/**
 * `counter name meta iifgroup map @egress_counts`: the counter that a map of counters has for the key; where it has none,
 * evaluation goes on with the next rule.
 */
export interface CounterMap {
  readonly kind: 'counter-map';
  readonly key: readonly Selector[];
  readonly map: string;
}

/**
 * `meta mark set ip saddr map @numbers`: the packet's mark becomes what the map has for the key; where it has none, evaluation
 * goes on with the next rule, and the mark stays.
 */
export interface MarkMap {
  readonly kind: 'mark-map';
  readonly key: readonly Selector[];
  readonly map: string;
}

/** To an nflog group. */
export interface LogStatement {
  readonly kind: 'log';
  /** At most 127 bytes. */
  readonly prefix?: string;
  readonly group: number;
  /** Bytes of the packet that are copied. */
  readonly snaplen?: number;
  /** Packets that the kernel gathers before it wakes the reader. */
  readonly queueThreshold?: number;
}

/** `limit rate 100/second burst 500 packets`: the rule goes on while the rate is under this. */
export interface Limit {
  readonly kind: 'limit';
  readonly rate: number;
  readonly per: 'second' | 'minute' | 'hour';
  readonly burst: number;
}

/** `meta mark set` or `ct mark set`; with `mask`, only those bits change. */
export interface SetMark {
  readonly kind: 'set-mark';
  readonly of: 'meta' | 'ct';
  readonly mark: number;
  readonly mask?: number;
}

/** `reject`, as an ICMP message of the packet's own family, or as a TCP reset. */
export interface Reject {
  readonly kind: 'reject';
  readonly with: 'port-unreachable' | 'admin-prohibited' | 'host-unreachable' | 'no-route' | 'tcp reset';
}

export interface MasqueradeStatement {
  readonly kind: 'masquerade';
  readonly fullyRandom?: boolean;
}

/** Where `dnat` or `snat` goes: a constant, or what a map (address, or `addr . port`) has for the key. */
export type NatTarget =
  | { readonly address: Address; readonly port?: number }
  | { readonly key: readonly Selector[]; readonly map: string; readonly port: boolean };

export interface Nat {
  readonly kind: 'dnat' | 'snat';
  readonly family: 4 | 6;
  readonly to: NatTarget;
}

export interface Notrack {
  readonly kind: 'notrack';
}

/** An expression list that none of our statements makes: another program wrote this rule. It equals only itself. */
export interface Foreign {
  readonly kind: 'foreign';
  readonly expressions: string;
}

export type Statement =
  | Match
  | Lookup
  | VerdictMap
  | Count
  | CounterMap
  | MarkMap
  | LogStatement
  | Limit
  | SetMark
  | Reject
  | MasqueradeStatement
  | Nat
  | Notrack
  | Foreign
  | NftVerdict;
