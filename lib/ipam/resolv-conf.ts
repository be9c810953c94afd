import type { Dns } from '../cni/dns.ts';

/**
 * Reads the text of a resolv.conf as host-local does: of several `domain` lines the last counts, of the others
 * all; `#` and `;` begin a comment line; keywords that it does not know are skipped.
 * @see resolv.conf(5)
 */
export function parseResolvConf(text: string): Dns {
  const nameservers: string[] = [];
  const search: string[] = [];
  const options: string[] = [];
  let domain: string | undefined;
  for (const line of text.split('\n')) {
    const [keyword = '', ...values] = line.trim().split(/\s+/);
    const first = values[0];
    if (first === undefined || /^[#;]/.test(keyword)) continue;
    if (keyword === 'nameserver') nameservers.push(first);
    else if (keyword === 'domain') domain = first;
    else if (keyword === 'search') search.push(...values);
    else if (keyword === 'options') options.push(...values);
  }
  return {
    ...(nameservers.length > 0 && { nameservers }),
    ...(domain !== undefined && { domain }),
    ...(search.length > 0 && { search }),
    ...(options.length > 0 && { options }),
  };
}
