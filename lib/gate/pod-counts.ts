/** How many of a node's pods have what: what all of them together need is known without a look at each. */
import type { LocalPod } from './node-state.ts';

export interface PodCounts {
  readonly pods: number;
  /** By tag. */
  readonly tags: Readonly<Record<string, number>>;
  /** Pods that are masqueraded, by the JSON of `LocalPod.masquerade`. */
  readonly ways: Readonly<Record<string, number>>;
  /** Pods with hostPorts. */
  readonly mapped: number;
}

export const noCounts: PodCounts = { pods: 0, tags: {}, ways: {}, mapped: 0 };

/** A count of zero is left out. */
function changed(counts: Readonly<Record<string, number>>, key: string, by: 1 | -1): Record<string, number> {
  const now = (counts[key] ?? 0) + by;
  if (now !== 0) return { ...counts, [key]: now };
  const { [key]: _, ...others } = counts;
  return others;
}

/** With one pod more, or less. */
export const counted = (
  { pods, tags, ways, mapped }: PodCounts,
  { tag, masquerade, hostPorts }: LocalPod,
  by: 1 | -1,
): PodCounts => ({
  pods: pods + by,
  tags: changed(tags, String(tag), by),
  ways: masquerade ? changed(ways, JSON.stringify(masquerade), by) : ways,
  mapped: hostPorts.length > 0 ? mapped + by : mapped,
});

export const masqueradesIn = ({ ways }: PodCounts): NonNullable<LocalPod['masquerade']>[] =>
  Object.keys(ways).map(way => JSON.parse(way) as NonNullable<LocalPod['masquerade']>);
