/** Explains one flow (its policies and remedies), and counts the flows that each policy decided. */

import type { SummedFlows } from '../flows/minutes.ts';
import { remediesFor } from '../flows/suggest.ts';
import { sumBy } from '../flows/sums.ts';
import type { Cluster } from '../policy/evaluate/cluster.ts';
import { policyManifest } from '../policy/manifest/manifest-of.ts';
import { type NetworkPolicy, policyRef } from '../policy/model/model.ts';
import type { FlowRecorder } from './flow-recorder.ts';
import { BadRequest } from './http-server.ts';

/** Policies that are shown with one flow. */
const MOST_SHOWN = 10;

/** As it is now; undefined where it is gone, or of the whole cluster. */
function policyOf(cluster: Cluster, ref: string): NetworkPolicy | undefined {
  const [, namespace = ''] = ref.split('/');
  return [...cluster.policiesIn(namespace)].find(policy => policyRef(policy) === ref);
}

/** The text of the policies that decided, and of those that would allow what was denied. @throws BadRequest where it is gone */
export async function explained({ journal, scene }: FlowRecorder, id: number) {
  const flow = journal.get(id);
  if (!flow) throw new BadRequest(`Cannot explain flow ${id}: it is not kept any more`);
  const { stringify } = await import('yaml');
  const refs = [...new Set([...(flow.egress?.by ?? []), ...(flow.ingress?.by ?? [])])].slice(0, MOST_SHOWN);
  const policies = refs.flatMap(ref => {
    const policy = policyOf(scene.cluster, ref);
    return policy ? [{ ref, yaml: stringify(policyManifest(policy)) }] : [];
  });
  return { flow, policies, remedies: remediesFor(flow).map(remedy => stringify(remedy)) };
}

/** Counts for the policies in the namespaces of this node's pods, and for every other policy that decided a flow. */
export function policyHits({ scene }: FlowRecorder, sums: readonly SummedFlows[]) {
  const hits = new Map(sumBy('policy', sums).map(row => [row.from, row]));
  hits.delete('none');
  const namespaces = new Set([...scene.pods.values()].map(({ namespace }) => namespace));
  const declared = [...namespaces].flatMap(namespace => [...scene.cluster.policiesIn(namespace)].map(policyRef));
  return [...new Set([...hits.keys(), ...declared.sort()])].map(policy => {
    const { allowed = 0, denied = 0, last = null } = hits.get(policy) ?? {};
    return { policy, allowed, denied, last };
  });
}
