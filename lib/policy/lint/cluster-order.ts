/** Policies whose order is left open. */
import { LAST } from '../model/cluster-policy.ts';
import { policyRef } from '../model/model.ts';
import { type ClusterCheck, directions, mayMeet } from './cluster-rule.ts';

export const equalPriorities: ClusterCheck = it => {
  const { policy, cluster, report } = it;
  if (policy.priority === LAST) return;
  const others = cluster
    .clusterPolicies(policy.tier)
    .filter(
      other =>
        other !== policy &&
        other.priority === policy.priority &&
        directions.some(direction => policy[direction].length > 0 && other[direction].length > 0) &&
        mayMeet(it, policy, other),
    );
  const [first, ...more] = others;
  if (!first) return;
  const whom = more.length > 0 ? `${policyRef(first)} and ${more.length} more` : policyRef(first);
  report(
    'spec.priority',
    `The priority of ${whom}, too, which may select the same pods: which is asked first is open to each implementation (here it is by name), so give them different ones`,
  );
};

/** Tells of a BaselineAdminNetworkPolicy beside the one that a cluster has: none has a priority. */
export const onlyDefault: ClusterCheck = ({ policy, report }) => {
  if (policy.kind !== 'BaselineAdminNetworkPolicy' || policy.name === 'default') return;
  report(
    'metadata.name',
    'The API takes the name default alone, since a cluster has one BaselineAdminNetworkPolicy: write a ClusterNetworkPolicy of tier Baseline, which has a priority',
  );
};
