/** How long callers wait for an answer; what a verb may wait for by its own timeouts, and ten seconds for the work itself. */
import type { AttachmentRequest, NetworkRequest } from '../cni/request.ts';

type Verb = (AttachmentRequest | NetworkRequest)['verb'];

/**
 * Seconds that a call may wait for another one of the same attachment; beyond them it waits for the node's lock or the enforcer.
 */
const seconds: Readonly<Record<Verb, number>> = { ADD: 60, DEL: 90, CHECK: 30, GC: 60, STATUS: 10 };

/**
 * How long a caller waits for the answer to a verb, in milliseconds.
 * @param enforceTimeout in seconds
 */
export const answerTimeoutMs = (verb: Verb, enforceTimeout: number): number =>
  (seconds[verb] + enforceTimeout + 10) * 1000;
