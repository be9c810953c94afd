/** How long flows are listened to. */
export interface Listening {
  /** To be called once all that comes from now on is heard. */
  readonly begun: () => void;
  readonly stop: AbortSignal;
}

/** Until interrupted, or for so many seconds from when flows are heard of: to begin takes a busy machine a while. */
export function listeningFor(seconds?: number): Listening {
  const over = new AbortController();
  const end = (): void => over.abort();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, end);
  const begun = (): void => {
    if (seconds !== undefined) setTimeout(end, seconds * 1000).unref();
  };
  return { begun, stop: over.signal };
}
