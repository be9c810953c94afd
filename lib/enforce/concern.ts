import { formatAddress } from '../ip/address.ts';
import type { Datum, Element } from '../nft/model.ts';
import type { Operation } from '../nft/transaction.ts';
import type { LocalPod } from './node.ts';

const isAddressOf = (datum: Datum, { addresses }: LocalPod): boolean =>
  typeof datum === 'object' &&
  'value' in datum &&
  'family' in datum &&
  !('length' in datum) &&
  addresses.includes(formatAddress(datum));

const isElementOf = (element: Element, pod: LocalPod): boolean =>
  element.key.some(datum => datum === pod.tag || isAddressOf(datum, pod)) ||
  (Array.isArray(element.value) && element.value.some((datum: Datum) => isAddressOf(datum, pod)));

/** Whether a difference in the table is one for this pod: rules, chains and sets are everybody's, elements are not. */
export function concerns(operation: Operation, pod: LocalPod): boolean {
  if (operation.object !== 'element') return true;
  return operation.elements.some(element => isElementOf(element, pod));
}
