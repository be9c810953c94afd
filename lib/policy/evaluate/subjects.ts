/** The pods that a policy selects. */
import type { AnyPolicy, Pod } from '../model/model.ts';
import { selects, selectsPod } from '../model/selector.ts';
import type { Cluster } from './cluster.ts';

/** Those of the pods that the policy selects. */
export function subjectsOf(policy: AnyPolicy, cluster: Cluster, pods: readonly Pod[]): readonly Pod[] {
  const isSubject = (pod: Pod): boolean =>
    'tier' in policy
      ? selectsPod(policy.subject, pod, cluster.namespaceLabels(pod.namespace))
      : pod.namespace === policy.namespace && selects(policy.subject, pod.labels);
  return pods.filter(isSubject);
}
