/** Pods found by what they are, in lists of selectors that may be thousands long: a selector stands under what it asks for. */
import { type LabelSelector, type Labels, nameLabel, type Pod, type PodPeer } from '../model/model.ts';
import { selectsPod } from '../model/selector.ts';

const labelKey = (key: string, value: string): string => `label ${key}=${value}`;
const namespaceKey = (name: string): string => `namespace ${name}`;
const anyKey = 'any';

/** The requirement with the fewest values among those that list values. */
function fewestValues({ requirements }: LabelSelector): readonly [key: string, values: readonly string[]] | undefined {
  const listing = requirements.filter(({ operator }) => operator === 'In');
  const [first, ...more] = listing;
  if (!first) return undefined;
  const best = more.reduce((a, b) => (b.values.length < a.values.length ? b : a), first);
  return [best.key, best.values];
}

/** Keys of which a pod that the peer selects has exactly one. */
export function keysOfPeer({ namespace, pods }: PodPeer): readonly string[] {
  const labels = fewestValues(pods);
  if (labels) return [...new Set(labels[1])].map(value => labelKey(labels[0], value));
  if (typeof namespace === 'string') return [namespaceKey(namespace)];
  const named = namespace.requirements.find(({ key, operator }) => key === nameLabel && operator === 'In');
  return named ? [...new Set(named.values)].map(namespaceKey) : [anyKey];
}

export function* keysOfPod({ namespace, labels }: Pick<Pod, 'namespace' | 'labels'>): Generator<string> {
  yield anyKey;
  yield namespaceKey(namespace);
  for (const [key, value] of labels) yield labelKey(key, value);
}

/** Values that are entered under selectors, and found by a pod that these select. */
export class PeerIndex<T> {
  readonly #byKey = new Map<string, { readonly peer: PodPeer; readonly value: T }[]>();

  add(peer: PodPeer, value: T): void {
    for (const key of keysOfPeer(peer)) {
      const found = this.#byKey.get(key);
      if (found) found.push({ peer, value });
      else this.#byKey.set(key, [{ peer, value }]);
    }
  }

  *of(pod: Pod, namespaceLabels: Labels): Generator<T> {
    for (const key of keysOfPod(pod))
      for (const { peer, value } of this.#byKey.get(key) ?? []) if (selectsPod(peer, pod, namespaceLabels)) yield value;
  }
}
