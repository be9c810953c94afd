/** An identity that is new on the node and that no policy selects: its entries are known without a look at anybody else's gates. */

import type { Judging } from '../gate/judging.ts';
import { identityOf, type LocalPod, type NodeState } from '../gate/node-state.ts';
import type { Ruleset } from '../policy/compile/ruleset.ts';
import type { World } from '../policy/model/model.ts';
import { selects } from '../policy/model/selector.ts';

/** The one that the second state has more; undefined where they differ in other identities, too. */
function newcomerIn(before: NodeState, after: NodeState): LocalPod | undefined {
  const come = Object.keys(after.tags).filter(key => before.tags[key] === undefined);
  const isMore = Object.entries(before.tags).every(([key, tag]) => after.tags[key] === tag);
  const tag = come.length === 1 && isMore ? after.tags[come[0]!] : undefined;
  return tag === undefined ? undefined : Object.values(after.pods).find(pod => pod.tag === tag);
}

/**
 * What the tables of the two states differ in beside sets of peers.
 * @param worldAbout the policies of a namespace and of the cluster, and maybe of other namespaces
 * @returns undefined where they differ in gates, too, or may do so: cluster policies may select whomever
 */
export function openNewcomer(
  before: NodeState,
  after: NodeState,
  worldAbout: (namespace: string) => World,
): Ruleset['tags'] | undefined {
  const pod = newcomerIn(before, after);
  if (!pod) return undefined;
  const identity = identityOf(pod);
  const { policies, clusterPolicies = [] } = worldAbout(pod.namespace);
  if (clusterPolicies.length > 0) return undefined;
  const isGated = policies.some(
    ({ namespace, subject }) => namespace === pod.namespace && selects(subject, identity.labels),
  );
  return isGated ? undefined : new Map([[pod.tag, { identity, egress: 'open', ingress: 'open' }]]);
}

/** With these tags, too. */
export const withTags = (judging: Judging, tags: Ruleset['tags']): Judging => ({
  ...judging,
  tags: {
    ...judging.tags,
    ...Object.fromEntries([...tags].map(([tag, { egress, ingress }]) => [tag, [egress, ingress] as const])),
  },
});
