import type { KubeError } from './error.ts';

/** Events of a list and watch, in their order. Every `listing` is followed by `listed`, or by `lost` and another `listing`. */
export type KubeEvent<T> =
  /** From here to `listed` comes everything that there is: what does not come is there no more. */
  | { readonly type: 'listing' }
  | { readonly type: 'listed'; readonly resourceVersion: string }
  /** The stream is up: from here on changes come by themselves. */
  | { readonly type: 'watching' }
  | { readonly type: 'set'; readonly object: T; readonly resourceVersion: string }
  /** Gone, or over; perhaps of an object that never was set. */
  | { readonly type: 'deleted'; readonly object: T; readonly resourceVersion: string }
  /** Nothing has changed up to this version: a sign of life. */
  | { readonly type: 'bookmark'; readonly resourceVersion: string }
  /** The server has no such resource, so that the list before this was empty: asked again in that many milliseconds. */
  | { readonly type: 'absent'; readonly retryIn: number }
  /** Not listening: tried again in that many milliseconds. */
  | { readonly type: 'lost'; readonly error: KubeError; readonly retryIn: number };
