/**
 * From a pod to the sets that it may be in, without a look at the others: each set stands under what a pod must have to be
 * in it, and a pod asks with what it has.
 */

import { keysOfPeer, keysOfPod } from '../evaluate/peer-index.ts';
import type { LabelSelector, Labels, Pod, PodPeer } from '../model/model.ts';
import { selects } from '../model/selector.ts';
import { bringing } from './decisions.ts';
import { isOfPairs, type PodSetSpec } from './ruleset.ts';

const portKey = (protocol: string, name: string): string => `port ${protocol}/${name}`;

/** The peers whose pods the set holds by their labels. */
function peersOf(spec: PodSetSpec): readonly PodPeer[] {
  if (spec.kind === 'addresses') return spec.pods;
  if (spec.kind === 'decided') return bringing(spec).flatMap(({ pods }) => pods);
  if (isOfPairs(spec)) return spec.whose.pairs.flatMap(({ pods }) => pods);
  return spec.whose.kind === 'pods' ? spec.whose.pods : [];
}

const keysOfSet = (spec: PodSetSpec): readonly string[] =>
  spec.kind === 'tuples' && !isOfPairs(spec)
    ? [...new Set(spec.names.map(({ protocol, name }) => portKey(protocol, name)))]
    : [...new Set(peersOf(spec).flatMap(keysOfPeer))];

function* keysWithPorts(pod: Pod): Generator<string> {
  yield* keysOfPod(pod);
  for (const { protocol, name } of pod.namedPorts) yield portKey(protocol, name);
}

/** Selectors that look at labels of namespaces, to let pods in or to keep them out. */
function namespaceSelectors(spec: PodSetSpec): readonly LabelSelector[] {
  const peers = spec.kind === 'decided' ? spec.rules.flatMap(({ pods }) => pods) : peersOf(spec);
  return peers.flatMap(({ namespace }) => (typeof namespace === 'string' ? [] : [namespace]));
}

export class SetIndex {
  readonly #byKey = new Map<string, Set<PodSetSpec>>();
  /** Sets that depend on labels of namespaces, with their selectors of namespaces. */
  readonly #selecting = new Map<PodSetSpec, readonly LabelSelector[]>();

  get isEmpty(): boolean {
    return this.#byKey.size === 0;
  }

  add(spec: PodSetSpec): void {
    for (const key of keysOfSet(spec)) this.#byKey.set(key, (this.#byKey.get(key) ?? new Set()).add(spec));
    const selectors = namespaceSelectors(spec);
    if (selectors.length > 0) this.#selecting.set(spec, selectors);
  }

  delete(spec: PodSetSpec): void {
    for (const key of keysOfSet(spec)) {
      const found = this.#byKey.get(key);
      if (found?.delete(spec) && found.size === 0) this.#byKey.delete(key);
    }
    this.#selecting.delete(spec);
  }

  /** Every set that has the pod is among these. */
  *of(pod: Pod): Generator<PodSetSpec> {
    for (const key of keysWithPorts(pod)) yield* this.#byKey.get(key) ?? [];
  }

  /** Sets whose selectors of namespaces select only one of the two sets of labels. */
  *tellingApart(before: Labels, after: Labels): Generator<PodSetSpec> {
    for (const [spec, selectors] of this.#selecting)
      if (selectors.some(selector => selects(selector, before) !== selects(selector, after))) yield spec;
  }
}
