import { type Fields, fields, listOf, optional, present, type Reader, text, unlessBlank } from './field.ts';

/** Name service for the pod. An empty list says "none", which is not the same as saying nothing. */
export interface Dns {
  readonly nameservers?: readonly string[];
  readonly domain?: string;
  readonly search?: readonly string[];
  readonly options?: readonly string[];
}

const unlessUnsaid = (found: Dns): Dns | undefined => (Object.keys(found).length > 0 ? found : undefined);

const readDns = (from: Fields, nameservers: string, search: string): Dns | undefined =>
  unlessUnsaid(
    present<Dns>({
      nameservers: optional(from, nameservers, listOf(text)),
      domain: optional(from, 'domain', unlessBlank(text)),
      search: optional(from, search, listOf(text)),
      options: optional(from, 'options', listOf(text)),
    }),
  );

/** `dns` of a config or a result; undefined where it says nothing at all. */
export const dns: Reader<Dns | undefined> = (value, at) => readDns(fields(value, at), 'nameservers', 'search');

/** `runtimeConfig.dns`, which has other names for the same things (CONVENTIONS.md). */
export const runtimeDns: Reader<Dns | undefined> = (value, at) => readDns(fields(value, at), 'servers', 'searches');
