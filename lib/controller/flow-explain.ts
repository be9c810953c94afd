/** Explains one flow: the text of its policies, and remedies. */

import type { FlowRecord } from '../flows/model.ts';
import { remediesFor } from '../flows/suggest.ts';
import { clusterPolicyManifest } from '../policy/manifest/cluster-manifest-of.ts';
import { policyManifest } from '../policy/manifest/manifest-of.ts';
import { stagedManifest } from '../policy/manifest/staged.ts';
import type { AnyPolicy } from '../policy/model/model.ts';
import type { FlowRecorder } from './flow-recorder.ts';
import { BadRequest } from './http-server.ts';

/** Policies that are shown with one flow, of those in force and of those that are staged. */
const MOST_SHOWN = 10;

const manifestOf = (policy: AnyPolicy) => ('tier' in policy ? clusterPolicyManifest(policy) : policyManifest(policy));

const decidingIn = ({ egress, ingress }: FlowRecord): readonly string[] =>
  [...new Set([...(egress?.by ?? []), ...(ingress?.by ?? [])])].slice(0, MOST_SHOWN);

/**
 * The flow with its counts of now; the text, as it is now, of the policies that decided and of the staged ones that would
 * decide otherwise, and policies that would allow what was denied.
 * @throws BadRequest where the flow is not kept any more
 */
export async function explained(recorder: Pick<FlowRecorder, 'journal' | 'scene' | 'counted'>, id: number) {
  const { journal, scene } = recorder;
  if (journal.get(id)?.state === 'open') await recorder.counted();
  const flow = journal.get(id);
  if (!flow) throw new BadRequest(`Cannot explain flow ${id}: it is not kept any more`);
  const { stringify } = await import('yaml');
  const policies = decidingIn(flow).flatMap(ref => {
    const policy = scene.cluster.policy(ref);
    return policy ? [{ ref, yaml: stringify(manifestOf(policy)) }] : [];
  });
  const staged = (flow.staged?.by ?? []).slice(0, MOST_SHOWN).flatMap(ref => {
    const policy = scene.staged?.policies.get(ref);
    return policy ? [{ ref, yaml: stringify(stagedManifest(manifestOf(policy))) }] : [];
  });
  return { flow, policies, staged, remedies: remediesFor(flow).map(remedy => stringify(remedy)) };
}
