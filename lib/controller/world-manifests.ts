/** Everything that policy is judged by on this node, as manifests: for `tollgate policy`, which asks the agent for them. */
import type { NodeState } from '../gate/node-state.ts';
import { localPod } from '../gate/node-world.ts';
import { clusterPolicyManifest } from '../policy/manifest/cluster-manifest-of.ts';
import {
  type ManifestObject,
  namespaceManifest,
  nodeManifest,
  podManifest,
  policyManifest,
} from '../policy/manifest/manifest-of.ts';
import { stagedManifest } from '../policy/manifest/staged.ts';
import type { ClusterPolicy } from '../policy/model/cluster-policy.ts';
import type { Watches } from './watches.ts';

/**
 * Pods as they are plugged in here, the others as the API has them: one of each name, though a pod that has moved may be in both
 * places for a while.
 * @param node this one's name
 */
export function* manifestsOfWorld(listeners: Watches, state: NodeState, node: string): Generator<object> {
  for (const { name, labels } of listeners.namespaces.objects()) yield namespaceManifest(name, labels);
  for (const each of listeners.nodes.objects()) yield nodeManifest(each);
  const own = Object.values(state.pods).map(localPod);
  const here = new Map(own.map(pod => [`${pod.namespace}/${pod.name}`, pod]));
  for (const pod of here.values()) yield podManifest({ ...pod, nodeName: node });
  for (const pod of listeners.pods.objects()) {
    if (here.has(`${pod.namespace}/${pod.name}`)) continue;
    const isKnownThere = pod.nodeName !== node || pod.hostNetwork;
    yield podManifest(isKnownThere ? pod : { ...pod, addresses: [] });
  }
  for (const policy of listeners.policies.objects())
    yield told(policyManifest(policy), policy, policy.isStaged === true);
  for (const { policy, isStaged } of listeners.clusterPolicies())
    yield told(clusterPolicyManifest(withoutRules(policy)), policy, isStaged);
}

/** A key beside those of the manifest, for what no manifest says: the policy was too large, and its rules are not kept. */
export const TOO_LARGE = 'isTooLarge';

/** The rules that close a policy that was too large are none that anyone wrote. */
const withoutRules = (policy: ClusterPolicy): ClusterPolicy =>
  policy.isBeyondBudget ? { ...policy, ingress: [], egress: [] } : policy;

function told(manifest: ManifestObject, policy: { readonly isBeyondBudget?: true }, isStaged: boolean): ManifestObject {
  const marked = isStaged ? stagedManifest(manifest) : manifest;
  return policy.isBeyondBudget ? { ...marked, [TOO_LARGE]: true } : marked;
}
