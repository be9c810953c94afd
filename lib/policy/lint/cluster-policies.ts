/** Finds oddities of cluster policies, policy by policy. */
import { clusterOf, isSeen } from '../evaluate/cluster.ts';
import type { Declared, Document } from '../manifest/manifest.ts';
import type { ClusterPolicy } from '../model/cluster-policy.ts';
import type { World } from '../model/model.ts';
import type { Problem } from '../model/problem.ts';
import { oneFamilyAlone, serviceRanges } from './cluster-networks.ts';
import { equalPriorities, onlyDefault } from './cluster-order.ts';
import { type ClusterCheck, podsSelectedBy } from './cluster-rule.ts';
import { deniesApiServer, deniesDns } from './cut-off.ts';
import { neverMatches, passesInVain } from './shadowed.ts';
import type { Scope } from './surroundings.ts';
import { unknownPeers } from './unknown-peers.ts';

export interface DeclaredClusterPolicy extends Declared {
  readonly object: { readonly kind: 'ClusterPolicy'; readonly policy: ClusterPolicy };
}

export const isClusterPolicy = (declared: Declared): declared is DeclaredClusterPolicy =>
  declared.object.kind === 'ClusterPolicy';

const hasNoSubject: ClusterCheck = ({ policy, cluster, pods, report }) => {
  if (pods.length === 0 || podsSelectedBy(cluster, pods, policy.subject).length > 0) return;
  report('spec.subject', `Selects none of the ${pods.length} pods that are known, so it does nothing to these`);
};

const checksFor = (documents: readonly Document[], scope: Scope): readonly ClusterCheck[] => [
  hasNoSubject,
  unknownPeers(scope),
  neverMatches(),
  passesInVain,
  equalPriorities,
  onlyDefault,
  oneFamilyAlone,
  serviceRanges(documents),
  deniesDns,
  deniesApiServer,
];

/** @param policies of the world, in force and valid */
export function clusterOddities(
  policies: readonly DeclaredClusterPolicy[],
  world: World,
  documents: readonly Document[],
  scope: Scope,
): readonly Problem[] {
  const checks = checksFor(documents, scope);
  const shared = { world, cluster: clusterOf(world), pods: world.pods.filter(isSeen) };
  return policies.flatMap(({ object: { policy }, source, ref, path }) => {
    const problems: Problem[] = [];
    const place = path.slice(0, path.length - 'metadata.name'.length);
    const report = (field: string, message: string): void =>
      void problems.push({ severity: 'warning', ...source, object: ref, field: `${place}${field}`, message });
    for (const check of checks) check({ policy, ...shared, report });
    return problems;
  });
}
