/** The ranges that a node's pods get their addresses from, as the agent tells the plugin in `<runDir>/node.json`. */
import type { RangeSetSpec } from '../cni/ipam.ts';
import { formatPrefix, networkOf, type Prefix, parsePrefix } from '../ip/address.ts';

export interface NodeRanges {
  /** The node's name in the API. */
  readonly node: string;
  readonly podCidrs: readonly Prefix[];
}

export const writeNodeRanges = ({ node, podCidrs }: NodeRanges): object => ({
  node,
  podCidrs: podCidrs.map(prefix => formatPrefix(networkOf(prefix))),
});

/** Undefined where the value is none, or names no range. */
export function readNodeRanges(value: unknown): NodeRanges | undefined {
  const { node, podCidrs } = (value ?? {}) as { readonly node?: unknown; readonly podCidrs?: unknown };
  if (typeof node !== 'string' || !Array.isArray(podCidrs)) return undefined;
  const prefixes = podCidrs.map(text => (typeof text === 'string' ? parsePrefix(text) : undefined));
  const whole = prefixes.filter(prefix => prefix !== undefined);
  return whole.length === podCidrs.length && whole.length > 0 ? { node, podCidrs: whole } : undefined;
}

/** One set for each family, so that a pod gets one address of each that the node has. */
export const rangeSetsOf = ({ podCidrs }: NodeRanges): readonly RangeSetSpec[] =>
  ([4, 6] as const)
    .map(family => podCidrs.filter(prefix => prefix.family === family).map(subnet => ({ subnet })))
    .filter(set => set.length > 0);
