/** The objects of manifests that mean nothing to policy: Deployments, Services, objects of other projects. */
import { clusterKinds } from '../model/cluster-policy.ts';
import { isMapping } from './field.ts';
import { standingOf } from './kinds.ts';
import type { Document } from './manifest.ts';

const read = ['NetworkPolicy', 'Pod', 'Namespace', 'Node', ...clusterKinds];

/** The kinds of the value: its own, or those of a list's items. */
function* kindsIn(value: unknown, impliedKind = '', impliedVersion = ''): Generator<string> {
  if (!isMapping(value)) return;
  const kind = String(value['kind'] ?? impliedKind);
  const apiVersion = String(value['apiVersion'] ?? impliedVersion);
  const { items } = value;
  if (kind.endsWith('List') && Array.isArray(items))
    for (const item of items) yield* kindsIn(item, kind.slice(0, -'List'.length), apiVersion);
  else if (apiVersion !== '') {
    const { is } = standingOf(apiVersion, kind);
    if (is === 'foreign' || (is === 'known' && !read.includes(kind))) yield kind;
  }
}

/** How many objects of each kind. */
export function ignoredIn(documents: readonly Document[]): ReadonlyMap<string, number> {
  const counts = new Map<string, number>();
  for (const { value } of documents) for (const kind of kindsIn(value)) counts.set(kind, (counts.get(kind) ?? 0) + 1);
  return counts;
}
