/** Reduces a cluster to the objects that decide between some pods, so that judging costs what these need. */
import { tiers } from '../model/cluster-policy.ts';
import type { Pod, World } from '../model/model.ts';
import type { Cluster } from './cluster.ts';

/** Policies judge two of these pods in it as they do in the cluster. */
export function worldAround(cluster: Cluster, pods: readonly Pod[]): World {
  const namespaces = [...new Set(pods.map(({ namespace }) => namespace))];
  return {
    namespaces: new Map(namespaces.map(name => [name, cluster.namespaceLabels(name)])),
    pods,
    policies: namespaces.flatMap(name => [...cluster.policiesIn(name)]),
    nodes: [...cluster.nodes()],
    clusterPolicies: tiers.flatMap(tier => cluster.clusterPolicies(tier)),
  };
}
