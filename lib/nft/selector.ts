/**
 * How the kernel loads what a rule looks at, and what must be known of the packet first.
 * The conditions are those that nft itself puts before such a match, and leaves out again when it lists.
 */

import type { Datatype, Selector } from './model.ts';

/** Numbers as in linux/netfilter/nf_tables.h: enum nft_meta_keys, nft_ct_keys, nft_payload_bases, nft_fib_result. */
export type Load =
  | { readonly name: 'meta'; readonly key: number }
  | { readonly name: 'ct'; readonly key: number }
  | { readonly name: 'payload'; readonly base: number; readonly offset: number; readonly length: number }
  | { readonly name: 'fib'; readonly result: number; readonly flags: number };

export interface SelectorFacts {
  readonly type: Datatype;
  readonly load: Load;
  /** The packet must be of this family (NFPROTO_IPV4 2, NFPROTO_IPV6 10) … */
  readonly nfproto?: number;
  /** … and of this transport protocol. */
  readonly l4proto?: number;
}

export const META = { mark: 3, nfproto: 15, l4proto: 16 } as const;
export const CT_MARK = 3;
export const NETWORK_HEADER = 1;
const TRANSPORT_HEADER = 2;
export const NFPROTO = { ipv4: 2, ipv6: 10 } as const;

const meta = (key: number, type: Datatype): SelectorFacts => ({ type, load: { name: 'meta', key } });
const ct = (key: number, type: Datatype): SelectorFacts => ({ type, load: { name: 'ct', key } });

const header =
  (base: number, known: { nfproto?: number; l4proto?: number }) =>
  (offset: number, length: number, type: Datatype): SelectorFacts => ({
    type,
    load: { name: 'payload', base, offset, length },
    ...known,
  });

const ip = header(NETWORK_HEADER, { nfproto: NFPROTO.ipv4 });
const ip6 = header(NETWORK_HEADER, { nfproto: NFPROTO.ipv6 });
const th = header(TRANSPORT_HEADER, {});
const tcp = header(TRANSPORT_HEADER, { l4proto: 6 });
const udp = header(TRANSPORT_HEADER, { l4proto: 17 });
const sctp = header(TRANSPORT_HEADER, { l4proto: 132 });

export const SELECTORS: Readonly<Record<Selector, SelectorFacts>> = {
  'meta iif': meta(4, 'iface_index'),
  'meta oif': meta(5, 'iface_index'),
  'meta iifname': meta(6, 'ifname'),
  'meta oifname': meta(7, 'ifname'),
  'meta iifgroup': meta(21, 'devgroup'),
  'meta oifgroup': meta(22, 'devgroup'),
  'meta mark': meta(META.mark, 'mark'),
  'meta nfproto': meta(META.nfproto, 'nf_proto'),
  'meta l4proto': meta(META.l4proto, 'inet_proto'),
  'ct state': ct(0, 'ct_state'),
  'ct direction': ct(1, 'ct_dir'),
  'ct status': ct(2, 'ct_status'),
  'ct mark': ct(CT_MARK, 'mark'),
  'ip saddr': ip(12, 4, 'ipv4_addr'),
  'ip daddr': ip(16, 4, 'ipv4_addr'),
  'ip protocol': ip(9, 1, 'inet_proto'),
  'ip ttl': ip(8, 1, 'integer'),
  'ip6 saddr': ip6(8, 16, 'ipv6_addr'),
  'ip6 daddr': ip6(24, 16, 'ipv6_addr'),
  'ip6 hoplimit': ip6(7, 1, 'integer'),
  'th sport': th(0, 2, 'inet_service'),
  'th dport': th(2, 2, 'inet_service'),
  'tcp sport': tcp(0, 2, 'inet_service'),
  'tcp dport': tcp(2, 2, 'inet_service'),
  'tcp flags': tcp(13, 1, 'tcp_flag'),
  'udp sport': udp(0, 2, 'inet_service'),
  'udp dport': udp(2, 2, 'inet_service'),
  'sctp sport': sctp(0, 2, 'inet_service'),
  'sctp dport': sctp(2, 2, 'inet_service'),
  'icmp type': header(TRANSPORT_HEADER, { nfproto: NFPROTO.ipv4, l4proto: 1 })(0, 1, 'icmp_type'),
  'icmpv6 type': header(TRANSPORT_HEADER, { nfproto: NFPROTO.ipv6, l4proto: 58 })(0, 1, 'icmpv6_type'),
  /** NFT_FIB_RESULT_OIF; SADDR | IIF | PRESENT */
  'fib saddr . iif oif': { type: 'boolean', load: { name: 'fib', result: 1, flags: 1 | 8 | 32 } },
  /** NFT_FIB_RESULT_ADDRTYPE; DADDR */
  'fib daddr type': { type: 'fib_addrtype', load: { name: 'fib', result: 3, flags: 2 } },
};

export const typesOf = (key: readonly Selector[]): readonly Datatype[] => key.map(selector => SELECTORS[selector].type);
