import { formatAddress } from '../ip/address.ts';
import type { Datum, Element } from '../nft/model.ts';
import type { Operation } from '../nft/transaction.ts';
import type { LocalPod } from './node-state.ts';
import { tagOfCounter } from './ruleset-to-nft.ts';

const isAddressOf = (datum: Datum, { addresses }: LocalPod): boolean =>
  typeof datum === 'object' &&
  'value' in datum &&
  'family' in datum &&
  !('length' in datum) &&
  addresses.includes(formatAddress(datum));

/** Whether the element has to do with the pod: by its tag, or by one of its addresses. */
export const isElementOf = (element: Element, pod: LocalPod): boolean =>
  element.key.some(datum => datum === pod.tag || isAddressOf(datum, pod)) ||
  (Array.isArray(element.value) && element.value.some((datum: Datum) => isAddressOf(datum, pod)));

/**
 * Whether a difference in the table concerns this pod: rules, chains, sets and policies' counters concern all pods, elements
 * and identities' counters only the pods whose tag or address they hold.
 */
export function concerns(operation: Operation, pod: LocalPod): boolean {
  if (operation.object === 'counter') return (tagOfCounter(operation.counter.name) ?? pod.tag) === pod.tag;
  if (operation.object !== 'element') return true;
  return operation.elements.some(element => isElementOf(element, pod));
}
