/** Statements that rules are written with, and the kernel's numbers in them. */

import type {
  Count,
  CounterMap,
  Datum,
  Lookup,
  MarkMap,
  Match,
  MatchOp,
  NftVerdict,
  Rule,
  Selector,
  Statement,
  VerdictMap,
} from './model.ts';

export const ACCEPT: NftVerdict = { kind: 'accept' };
export const DROP: NftVerdict = { kind: 'drop' };
export const RETURN: NftVerdict = { kind: 'return' };
export const COUNTER: Count = { kind: 'counter' };
export const jump = (chain: string): NftVerdict => ({ kind: 'jump', chain });
export const goto = (chain: string): NftVerdict => ({ kind: 'goto', chain });

export const match = (selector: Selector, op: MatchOp, datum: Datum): Match => ({ kind: 'match', selector, op, datum });

/** `selector & mask op datum` */
export const matchMasked = (selector: Selector, mask: number, op: '==' | '!=', datum: number): Match => ({
  kind: 'match',
  selector,
  mask,
  op,
  datum,
});

/** `selector . selector @set` */
export const inSet = (key: Selector | readonly Selector[], set: string, op: '==' | '!=' = '=='): Lookup => ({
  kind: 'lookup',
  key: typeof key === 'string' ? [key] : key,
  op,
  set,
});

/** `selector { datum, datum }`, an anonymous set. */
export const oneOf = (selector: Selector, data: readonly Datum[], op: '==' | '!=' = '=='): Lookup => ({
  kind: 'lookup',
  key: [selector],
  op,
  set: data.map(datum => [datum]),
});

export const vmap = (key: Selector | readonly Selector[], map: string): VerdictMap => ({
  kind: 'vmap',
  key: typeof key === 'string' ? [key] : key,
  map,
});

export const countBy = (key: Selector | readonly Selector[], map: string): CounterMap => ({
  kind: 'counter-map',
  key: typeof key === 'string' ? [key] : key,
  map,
});

/** `meta mark set selector . selector map @map` */
export const markBy = (key: Selector | readonly Selector[], map: string): MarkMap => ({
  kind: 'mark-map',
  key: typeof key === 'string' ? [key] : key,
  map,
});

export const rule = (statements: readonly Statement[], comment?: string): Rule =>
  comment === undefined ? { statements } : { statements, comment };

/** ct state bits (linux/netfilter/nf_conntrack_common.h, NF_CT_STATE_BIT). */
export const CT_STATE = { invalid: 1, established: 2, related: 4, new: 8, untracked: 64 } as const;
/** The flag bits of a TCP header. */
export const TCP_FLAG = { fin: 1, syn: 2, rst: 4, psh: 8, ack: 16, urg: 32 } as const;
export const PROTOCOL = { icmp: 1, tcp: 6, udp: 17, icmpv6: 58, sctp: 132 } as const;
/** fib daddr type (linux/rtnetlink.h, RTN_*). */
export const ADDRTYPE = { unicast: 1, local: 2, broadcast: 3, multicast: 5 } as const;
/** `fib … oif missing`. */
export const MISSING = 0;
