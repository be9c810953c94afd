/**
 * What a CIDR covers, by the package `ip-cidr`; this is the one file that knows it.
 *
 * It is not free to load: in a bundle with code cache about 1.1 ms, and its first use 0.9 ms (IPv4) and 0.5 ms (IPv6),
 * most of it spent in the bignum library below it. So lib/ipam/config.ts, which needs it, should be imported
 * dynamically by verbs that choose an address, and by no other.
 */
import IPCIDR from 'ip-cidr';
import { formatPrefix, type Prefix, type Range } from '../ip/address.ts';

/** First and last address of the prefix, network and broadcast address included; host bits do not matter. */
export function cidrRange(prefix: Prefix): Range {
  const cidr = new IPCIDR(formatPrefix(prefix));
  const [first, last] = cidr.toRange<bigint>({ type: 'bigInteger' });
  return { family: prefix.family, first, last };
}
