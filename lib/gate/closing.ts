/** Takes one pod out of a table as the kernel has it, for a process that does not know the policies in that table. */
import type { Element, NamedSet, Table } from '../nft/model.ts';
import { isElementOf } from './concern.ts';
import type { LocalPod } from './node-state.ts';
import { markerSet } from './static-sets.ts';

export interface Closing {
  /** No other pod has its tag. */
  readonly isLast: boolean;
  /** The number that ties the table to the state file from now on. */
  readonly marker: number;
}

/** Ranges are not a pod's own: those of ipBlocks are a policy's, those of masquerading are its subnet's. */
function without(set: NamedSet, pod: LocalPod, isLast: boolean): NamedSet {
  if (set.interval) return set;
  const isIts = (element: Element): boolean =>
    set.key[0] === 'devgroup' ? isLast && element.key[0] === pod.tag : isElementOf(element, pod);
  return { ...set, elements: set.elements.filter(element => !isIts(element)) };
}

/** Its address is in no set, its tag in no map where it was the last that had it; nothing else differs. */
export function withoutPodIn(table: Table, pod: LocalPod, { isLast, marker }: Closing): Table {
  const sets = table.sets.map(set =>
    set.name === markerSet.name ? { ...set, elements: [{ key: [marker] }] } : without(set, pod, isLast),
  );
  return { ...table, sets };
}
