import { onceUnheard } from '../stdout.ts';

/** How long flows are listened to. */
export interface Listening {
  /** Called once the listener has begun: it hears every flow from then on. */
  readonly begun: () => void;
  readonly stop: AbortSignal;
}

/**
 * Listens until it is interrupted or its reader is gone, or for so many seconds from when it has begun: to begin takes a busy
 * machine a while.
 */
export function listeningFor(seconds?: number): Listening {
  const over = new AbortController();
  const end = (): void => over.abort();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, end);
  onceUnheard(end);
  const begun = (): void => {
    if (seconds !== undefined) setTimeout(end, seconds * 1000).unref();
  };
  return { begun, stop: over.signal };
}
