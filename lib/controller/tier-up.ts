/**
 * V8 interprets a function until it has been called so often that to compile it seems worth the while: 400 times, then, for
 * what is compiled best, 3,000 times, and as long as no object of a new shape has turned up. A call of a runtime runs most of
 * our functions once, so a node's agent would be at it for the first thousands of pods.
 */
import { setFlagsFromString } from 'node:v8';

/**
 * For the rest of this process; to be called when most of what it needs is loaded, since a code cache fits the flags that it was
 * made by: what is loaded later is compiled anew.
 */
export function tierUpEarly(): void {
  setFlagsFromString('--invocation-count-for-maglev=60');
  setFlagsFromString('--minimum-invocations-after-ic-update=60');
}
