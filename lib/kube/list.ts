import { isMapping, member } from '../policy/manifest/field.ts';
import type { Client } from './client.ts';
import { deadline } from './clock.ts';
import { garbage, KubeError } from './error.ts';
import type { KubeEvent } from './event.ts';
import type { Reading, Resource } from './object.ts';
import { itemSplitter, SplitError } from './split.ts';

/** Objects in a page, where the server pages at all: answers from its watch cache are one page, whatever the limit. */
const pageSize = '500';

/** Milliseconds without a whole object of a list, and with the server's own time to begin. */
const listTimeoutMs = 60_000;

const textAt = (value: unknown, ...path: readonly string[]): string | undefined => {
  let field = { value, path: '', report: () => undefined };
  for (const key of path) field = { ...field, value: member(field, key).value };
  return typeof field.value === 'string' && field.value !== '' ? field.value : undefined;
};

/** The resourceVersion of any object; empty where it has none. */
export const versionOf = (object: unknown): string => textAt(object, 'metadata', 'resourceVersion') ?? '';

export function parsed(action: string, text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw garbage(action, `no JSON: ${JSON.stringify(text.slice(0, 80))}`);
  }
}

/** The object that the API sent; the kind of its reading. @throws {KubeError} Garbage: it has no name */
export function readObject<T>(action: string, resource: Resource<T>, value: unknown, reading: Reading): T {
  const object = resource.read(value, reading);
  if (object !== undefined) return object;
  throw garbage(action, `an object without a name: ${JSON.stringify(value)?.slice(0, 80)}`);
}

export interface Listing<T> {
  readonly client: Client;
  readonly resource: Resource<T>;
  readonly reading: Reading;
  readonly signal: AbortSignal;
}

/**
 * How old the list may be.
 * `any`: as the server has it in its cache, so that a thousand agents that start at once cost etcd nothing; the watch
 * brings it up to date. `since`: at least that version. `latest`: what etcd has, page by page.
 */
export type Freshness = 'any' | 'latest' | { readonly since: string };

function queryOf(freshness: Freshness, fieldSelector: string | undefined): Readonly<Record<string, string>> {
  const selected = fieldSelector === undefined ? {} : { fieldSelector };
  if (freshness === 'latest') return { limit: pageSize, ...selected };
  // With a limit, this would not be answered from the cache.
  if (freshness !== 'any') return { resourceVersion: freshness.since, ...selected };
  return { limit: pageSize, resourceVersion: '0', ...selected };
}

/** One page's objects as events, each as soon as its last byte is there; then what the page says of itself. */
async function* page<T>(
  { client, resource, reading, signal }: Listing<T>,
  query: Readonly<Record<string, string>>,
): AsyncGenerator<KubeEvent<T>, unknown> {
  const action = `list ${resource.name} of ${client.server}`;
  const answer = await client.send({ action, path: resource.path, query, signal, timeoutMs: listTimeoutMs });
  const silent = { reason: 'Silent', message: `no further object within ${listTimeoutMs / 1000} s` };
  const waiting = deadline(client.clock, listTimeoutMs, () => answer.breakOff(new KubeError(action, silent)));
  const splitter = itemSplitter();
  waiting.start();
  try {
    for await (const chunk of answer.body) {
      for (const text of splitter.push(chunk)) {
        waiting.stop();
        const value = parsed(action, text);
        const object = readObject(action, resource, value, reading);
        if (!resource.isOver(object)) yield { type: 'set', object, resourceVersion: versionOf(value) };
        waiting.start();
      }
    }
    return parsed(action, splitter.end());
  } catch (error) {
    throw error instanceof SplitError ? garbage(action, error.message) : error;
  } finally {
    waiting.stop();
  }
}

/**
 * Everything that there is, as `set` events; gives the resourceVersion from which to watch.
 * @throws {KubeError}
 */
export async function* list<T>(listing: Listing<T>, freshness: Freshness): AsyncGenerator<KubeEvent<T>, string> {
  const { resource, client } = listing;
  let query = queryOf(freshness, resource.fieldSelector);
  for (;;) {
    const envelope = yield* page(listing, query);
    const version = versionOf(envelope);
    const action = `list ${resource.name} of ${client.server}`;
    if (!isMapping(envelope) || version === '') throw garbage(action, 'a list without a resourceVersion');
    const token = textAt(envelope, 'metadata', 'continue');
    if (token === undefined) return version;
    // The token remembers the version, and nothing else about it may be said beside it.
    query = { ...queryOf('latest', resource.fieldSelector), continue: token };
  }
}
