import { isMapping } from '../policy/manifest/field.ts';
import { deadline } from './clock.ts';
import { errorOfStatus, garbage, KubeError } from './error.ts';
import type { KubeEvent } from './event.ts';
import { type Listing, parsed, readObject, versionOf } from './list.ts';
import { lineSplitter, SplitError } from './split.ts';

/**
 * Milliseconds without a whole event. Servers send a bookmark about every minute, so two have failed to come: the stream
 * is dead, whether or not its connection knows, or is fed too slowly to be of use. Without bookmarks it costs a request.
 */
export const watchTimeoutMs = 150_000;

/** The event in one line of a watch. @throws {KubeError} it is an ERROR, or none that is known */
function eventOf<T>(action: string, line: string, { resource, reading }: Listing<T>): KubeEvent<T> {
  const value = parsed(action, line);
  const { type, object: raw } = isMapping(value) ? value : {};
  if (type === 'ERROR') throw errorOfStatus(action, raw);
  const resourceVersion = versionOf(raw);
  if (resourceVersion === '') throw garbage(action, `an event without a resourceVersion: ${line.slice(0, 80)}`);
  if (type === 'BOOKMARK') return { type: 'bookmark', resourceVersion };
  const object = readObject(action, resource, raw, reading);
  if (type === 'DELETED') return { type: 'deleted', object, resourceVersion };
  if (type !== 'ADDED' && type !== 'MODIFIED') throw garbage(action, `an event of type ${JSON.stringify(type)}`);
  return { type: resource.isOver(object) ? 'deleted' : 'set', object, resourceVersion };
}

/**
 * Yields changes after that version, for as long as the server lets us listen (we ask for `seconds`).
 * @throws {KubeError} the stream ended otherwise than between two events
 */
export async function* follow<T>(
  listing: Listing<T>,
  { since, seconds }: { readonly since: string; readonly seconds: number },
): AsyncGenerator<KubeEvent<T>, void> {
  const { client, resource, signal } = listing;
  const action = `watch ${resource.name} of ${client.server}`;
  const query = {
    watch: 'true',
    allowWatchBookmarks: 'true',
    resourceVersion: since,
    timeoutSeconds: String(seconds),
    ...(resource.fieldSelector === undefined ? {} : { fieldSelector: resource.fieldSelector }),
  };
  const answer = await client.send({ action, path: resource.path, query, signal });
  const silent = { reason: 'Silent', message: `no event, not even a bookmark, within ${watchTimeoutMs / 1000} s` };
  const waiting = deadline(client.clock, watchTimeoutMs, () => answer.breakOff(new KubeError(action, silent)));
  const splitter = lineSplitter();
  try {
    yield { type: 'watching' };
    waiting.start();
    for await (const chunk of answer.body) {
      for (const line of splitter.push(chunk)) {
        waiting.stop();
        yield eventOf(action, line, listing);
        waiting.start();
      }
    }
  } catch (error) {
    throw error instanceof SplitError ? garbage(action, error.message) : error;
  } finally {
    waiting.stop();
    answer.breakOff();
  }
  if (splitter.left > 0) throw new KubeError(action, { reason: 'BrokenOff', message: 'ended within an event' });
}
