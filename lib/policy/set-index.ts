/**
 * From a pod to the sets that it may be in, without a look at the others: each set stands under what a pod must have to be
 * in it, and a pod asks with what it has.
 */
import { type LabelSelector, type Labels, nameLabel, type Pod, type PodPeer } from './model.ts';
import type { PodSetSpec } from './ruleset.ts';
import { selects } from './selector.ts';

const labelKey = (key: string, value: string): string => `label ${key}=${value}`;
const namespaceKey = (name: string): string => `namespace ${name}`;
const portKey = (protocol: string, name: string): string => `port ${protocol}/${name}`;
const anyKey = 'any';

/** Of the requirements that list values the one with the fewest. */
function fewestValues({ requirements }: LabelSelector): readonly [key: string, values: readonly string[]] | undefined {
  const listing = requirements.filter(({ operator }) => operator === 'In');
  const [first, ...more] = listing;
  if (!first) return undefined;
  const best = more.reduce((a, b) => (b.values.length < a.values.length ? b : a), first);
  return [best.key, best.values];
}

/** One of these a pod must have. */
function keysOfPeer({ namespace, pods }: PodPeer): readonly string[] {
  const labels = fewestValues(pods);
  if (labels) return labels[1].map(value => labelKey(labels[0], value));
  if (typeof namespace === 'string') return [namespaceKey(namespace)];
  const named = namespace.requirements.find(({ key, operator }) => key === nameLabel && operator === 'In');
  return named ? named.values.map(namespaceKey) : [anyKey];
}

const keysOfSet = (spec: PodSetSpec): readonly string[] =>
  spec.kind === 'tuples' ? [portKey(spec.port.protocol, spec.port.name)] : spec.pods.flatMap(keysOfPeer);

function* keysOfPod({ namespace, labels, namedPorts }: Pod): Generator<string> {
  yield anyKey;
  yield namespaceKey(namespace);
  for (const [key, value] of labels) yield labelKey(key, value);
  for (const { protocol, name } of namedPorts) yield portKey(protocol, name);
}

/** Selectors that look at labels of namespaces. */
function namespaceSelectors(spec: PodSetSpec): readonly LabelSelector[] {
  const peers = spec.kind === 'addresses' ? spec.pods : spec.whose.kind === 'pods' ? spec.whose.pods : [];
  return peers.flatMap(({ namespace }) => (typeof namespace === 'string' ? [] : [namespace]));
}

export class SetIndex {
  readonly #byKey = new Map<string, Set<PodSetSpec>>();
  /** Those that look at labels of namespaces, with what they look for. */
  readonly #selecting = new Map<PodSetSpec, readonly LabelSelector[]>();

  get isEmpty(): boolean {
    return this.#byKey.size === 0;
  }

  add(spec: PodSetSpec): void {
    for (const key of keysOfSet(spec)) {
      const found = this.#byKey.get(key);
      if (found) found.add(spec);
      else this.#byKey.set(key, new Set([spec]));
    }
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
    for (const key of keysOfPod(pod)) yield* this.#byKey.get(key) ?? [];
  }

  /** Those that may tell the one from the other as labels of a namespace. */
  *tellingApart(before: Labels, after: Labels): Generator<PodSetSpec> {
    for (const [spec, selectors] of this.#selecting)
      if (selectors.some(selector => selects(selector, before) !== selects(selector, after))) yield spec;
  }
}
