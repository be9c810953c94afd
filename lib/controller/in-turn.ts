/** Work on several namespaces, one after the other, so that what one of them costs the calls of others do not wait for. */
import type { Clock } from '../kube/clock.ts';

/** How often to look whether calls have ended, in milliseconds. */
const LOOK = 1;
/** Milliseconds that a namespace's policies wait for calls under way, so that calls without end do not hold them back. */
export const LONGEST_WAIT_MS = 500;

export interface Calls {
  /** Calls that have not been answered. */
  readonly calls: number;
}

/** Calls that are under way or come meanwhile go first, for as long as one namespace waits for them. */
async function giveWay(server: Calls, clock: Clock): Promise<void> {
  const end = clock.now() + LONGEST_WAIT_MS;
  do await new Promise<void>(done => clock.after(LOOK, done));
  while (server.calls > 0 && clock.now() < end);
}

/**
 * @param namespaces asked for one by one: those that have nothing to wait for by then need not come
 * @throws what `work` throws: the namespaces after that are not worked on
 */
export async function inTurn(
  namespaces: Iterable<string>,
  work: (namespace: string) => Promise<void>,
  server: Calls,
  clock: Clock,
): Promise<void> {
  let isFirst = true;
  for (const namespace of namespaces) {
    if (!isFirst) await giveWay(server, clock);
    isFirst = false;
    await work(namespace);
  }
}

/** Of the namespaces that wait now, those that still wait when it is their turn: one may be settled along with another. */
export function* stillWaiting(waiting: () => ReadonlySet<string>): Generator<string> {
  for (const namespace of waiting()) if (waiting().has(namespace)) yield namespace;
}
