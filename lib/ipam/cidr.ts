/**
 * The range that a CIDR covers, by the package `ip-cidr`; this is the one file that knows the package.
 *
 * The package takes 2 to 5 ms to load and use once, most of it in the bignum library below it. So it is imported
 * dynamically, where a configuration is checked and no pod waits; ADD does the same sum by lib/ip.
 */
import IPCIDR from 'ip-cidr';
import { formatPrefix, type Prefix, type Range } from '../ip/address.ts';

/** First and last address of the prefix, network and broadcast address included; host bits do not matter. */
export function cidrRange(prefix: Prefix): Range {
  const cidr = new IPCIDR(formatPrefix(prefix));
  const [first, last] = cidr.toRange<bigint>({ type: 'bigInteger' });
  return { family: prefix.family, first, last };
}
