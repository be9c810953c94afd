/**
 * Label selectors as apimachinery means them: NotIn and DoesNotExist hold where the key is absent, and a required value
 * of "" needs the key to be there.
 * @see https://github.com/kubernetes/apimachinery/blob/master/pkg/labels/selector.go Requirement.Matches
 */
import { type LabelSelector, type Labels, nameLabel, type PodPeer, type Requirement } from './model.ts';

export const everything: LabelSelector = { requirements: [] };

export function holds({ key, operator, values }: Requirement, labels: Labels): boolean {
  const value = labels.get(key);
  switch (operator) {
    case 'In':
      return value !== undefined && values.includes(value);
    case 'NotIn':
      return value === undefined || !values.includes(value);
    case 'Exists':
      return value !== undefined;
    case 'DoesNotExist':
      return value === undefined;
  }
}

export const selects = ({ requirements }: LabelSelector, labels: Labels): boolean =>
  requirements.every(requirement => holds(requirement, labels));

/** Labels as they count for selectors: the namespace's name is always among them, whatever a manifest says. */
export const withNameLabel = (name: string, labels: Labels | undefined): Labels =>
  new Map([...(labels ?? []), [nameLabel, name]]);

/** Whether the peer selects a pod with these labels in that namespace. */
export const selectsPod = (
  { namespace, pods }: PodPeer,
  pod: { readonly namespace: string; readonly labels: Labels },
  namespaceLabels: Labels,
): boolean =>
  (typeof namespace === 'string' ? namespace === pod.namespace : selects(namespace, namespaceLabels)) &&
  selects(pods, pod.labels);

/** `app=web`, `env in (dev,test)`, `env notin (prod)`, `app`, `!app` */
export function requirementText({ key, operator, values }: Requirement): string {
  if (operator === 'Exists') return key;
  if (operator === 'DoesNotExist') return `!${key}`;
  const sorted = [...new Set(values)].sort();
  if (operator === 'NotIn') return `${key} notin (${sorted.join(',')})`;
  return sorted.length === 1 ? `${key}=${sorted[0]}` : `${key} in (${sorted.join(',')})`;
}

/** The selector as kubectl writes it, its requirements sorted: selectors with the same requirements have the same text. */
export const selectorText = ({ requirements }: LabelSelector): string =>
  [...new Set(requirements.map(requirementText))].sort().join(',');

/** One text for one peer: `pods app=web in namespace shop`. No key, value or name contains a space, so no two share a text. */
export function podPeerText({ namespace, pods }: PodPeer): string {
  const which = selectorText(pods);
  const where =
    typeof namespace === 'string'
      ? `namespace ${encodeURIComponent(namespace.toWellFormed())}`
      : namespacesText(namespace);
  return `${which === '' ? 'all pods' : `pods ${which}`} in ${where}`;
}

function namespacesText(selector: LabelSelector): string {
  const which = selectorText(selector);
  return which === '' ? 'all namespaces' : `namespaces ${which}`;
}
