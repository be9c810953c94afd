/**
 * V8 interprets a function until it has been called so often that to compile it seems worth the while: 400 times, then, for
 * what is compiled best, 3,000 times, and as long as no object of a new shape has turned up. A call of a runtime runs most of
 * our functions once, so a node's agent would be at it for the first thousands of pods.
 */
import { setFlagsFromString } from 'node:v8';

/**
 * Has V8 compile functions early for the rest of this process. To be called when most of what it needs is loaded: a code cache
 * fits the flags that it was made by, so what is loaded later is compiled anew.
 */
export function tierUpEarly(): void {
  setFlagsFromString('--invocation-count-for-maglev=60');
  setFlagsFromString('--minimum-invocations-after-ic-update=60');
}
