/** List and watch for as long as it takes: whatever goes wrong is told as an event, waited for, and tried again. */
import { type Backoff, createBackoff } from './backoff.ts';
import type { Client } from './client.ts';
import { pause } from './clock.ts';
import { CredentialsError } from './credentials.ts';
import { Definition } from './definition.ts';
import { mayBeAbsent, servedVersion } from './discovery.ts';
import { isExpired, KubeError } from './error.ts';
import type { KubeEvent } from './event.ts';
import { follow } from './follow.ts';
import { createIntern, type Intern } from './intern.ts';
import { type Freshness, type Listing, list } from './list.ts';
import type { ObjectProblem, Resource } from './object.ts';

export interface WatchOptions {
  /** Ends the events, and every connection that they need. */
  readonly signal: AbortSignal;
  /** From 0 to 1; Math.random unless given. */
  readonly random?: () => number;
  /** Shared by all resources that are watched, it saves memory. */
  readonly intern?: Intern;
  /** Called with each complaint of the manifest reader; where the object is a policy, it is closed. */
  readonly report?: (complaint: ObjectProblem) => void;
}

/** A watch that lived for so many milliseconds was none of the kind that ends as soon as it has begun. */
const shortest = 1_000;
/** One that lived for so long has made good for failures before it. */
const steady = 10_000;

/** Failures that say something of the place we wanted to watch from, rather than of the server or the way to it. */
const isAboutThePlace = ({ status, reason }: KubeError): boolean =>
  reason === 'Garbage' || (status !== 0 && ![401, 403, 408, 429, 502, 503, 504].includes(status));

/** Milliseconds until a server is asked again for a resource that it has not; twice that at most, so that agents part. */
const absentMs = 30_000;
/** The same once its definition has changed: the server needs a moment to serve what it defines. */
const definedMs = 1_000;
/** As often one after the other the server must say that it has no such resource, once it has had it. */
const surelyAbsent = 3;
const doubtedMs = 5_000;

/** Where to go on, and how. */
class Course {
  /** Watch from here; list first where there is none. */
  place: string | undefined;
  freshness: Freshness = 'any';
  readonly #backoff: Backoff;
  #stuck = 0;
  /** There was a list, and the server has not said since that it has no such resource. */
  #isKnown = false;
  #absences = 0;

  constructor(backoff: Backoff) {
    this.#backoff = backoff;
  }

  moveTo(version: string): void {
    this.place = version;
    this.#stuck = 0;
    this.#isKnown = true;
    this.#absences = 0;
  }

  /** The server says that it has no such resource: whether to believe it, since what was known would be gone. */
  miss(): boolean {
    this.#absences++;
    if (this.#isKnown && this.#absences < surelyAbsent) return false;
    this.#isKnown = false;
    this.freshness = 'any';
    return true;
  }

  /** Milliseconds to wait after a failure of what had been up for so long. */
  fail(error: KubeError, lived: number): number {
    if (lived >= steady) this.#backoff.reset();
    if (this.place === undefined) {
      // Too old a page, or a version that this server has not reached: ask for the objects of now.
      if (isExpired(error) || error.reason === 'ResourceVersionTooLarge') this.freshness = 'latest';
    } else {
      if (isAboutThePlace(error)) this.#stuck++;
      // The same place may fail once by accident; twice, and whatever comes after it can only be had by a list.
      if (isExpired(error) || this.#stuck >= 2) this.#leave();
    }
    return Math.max(error.retryAfter, this.#backoff.next());
  }

  /** Lists anew, but never what is older than what we know. */
  #leave(): void {
    this.freshness = this.place === undefined ? 'any' : { since: this.place };
    this.place = undefined;
    this.#stuck = 0;
  }
}

/** Credentials that cannot be read now may be there again later: a rotation gone wrong must not end the agent. */
function kubeErrorOf(action: string, error: unknown): KubeError {
  if (error instanceof KubeError) return error;
  if (error instanceof CredentialsError)
    return new KubeError(action, { reason: 'Credentials', message: error.message }, error);
  throw error;
}

/**
 * All objects of a resource and everything that becomes of them, until the signal is aborted; then it ends, quietly.
 * Objects come trimmed; a caller that reads slowly makes the server wait.
 */
export async function* watch<T>(
  client: Client,
  resource: Resource<T>,
  { signal, random = Math.random, intern = createIntern(), report = () => undefined }: WatchOptions,
): AsyncGenerator<KubeEvent<T>, void> {
  let listing: Listing<T> = { client, resource, reading: { intern, report }, signal };
  const { clock } = client;
  const course = new Course(createBackoff(random));
  const definition = new Definition();
  while (!signal.aborted) {
    let upSince: number | undefined;
    let error: KubeError;
    try {
      if (course.place === undefined) {
        yield { type: 'listing' };
        const version = yield* list(listing, course.freshness);
        course.moveTo(version);
        yield { type: 'listed', resourceVersion: version };
      }
      // Not all at once, when all agents have begun at once.
      const seconds = Math.round(300 + 300 * random());
      for await (const event of follow(listing, { since: course.place!, seconds })) {
        if (event.type === 'watching') upSince = clock.now();
        if ('resourceVersion' in event) course.moveTo(event.resourceVersion);
        yield event;
      }
      if (upSince !== undefined && clock.now() - upSince >= shortest) continue;
      const action = `watch ${resource.name} of ${client.server}`;
      error = new KubeError(action, { reason: 'BrokenOff', message: 'the stream ended as soon as it had begun' });
    } catch (thrown) {
      if (signal.aborted) return;
      error = kubeErrorOf(`reach ${client.server}`, thrown);
    }
    const mayBeMissing = course.place === undefined && mayBeAbsent(resource, error);
    const served = mayBeMissing ? await versionAt(listing, resource) : listing.resource;
    const isOther = served !== undefined && served.path !== listing.resource.path;
    if (served) listing = { ...listing, resource: served };
    const isMissing = served === undefined;
    if (isMissing && course.miss()) {
      const retryIn = absentMs * (1 + random());
      yield { type: 'listed', resourceVersion: '' };
      yield { type: 'absent', retryIn };
      if (await definition.changes(listing, retryIn)) await pause(clock, definedMs * (1 + random()), signal);
      continue;
    }
    const wait = course.fail(error, upSince === undefined ? 0 : clock.now() - upSince);
    const retryIn = isMissing ? doubtedMs : isOther ? Math.min(wait, definedMs * (1 + random())) : wait;
    yield { type: 'lost', error, retryIn };
    await pause(clock, retryIn, signal);
  }
}

/** The version to ask for: undefined only where the server says that it has none; where that cannot be known, the same. */
async function versionAt<T>(
  { client, resource: current, signal }: Listing<T>,
  resource: Resource<T>,
): Promise<Resource<T> | undefined> {
  try {
    return await servedVersion(client, [resource, ...(resource.otherVersions ?? [])], signal);
  } catch {
    return current;
  }
}
