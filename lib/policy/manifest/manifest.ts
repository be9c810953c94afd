/**
 * Manifests, already parsed from YAML or JSON, to the world that they describe and the problems that they have.
 * Nothing here throws: what cannot be read is reported, and closed where it is a policy.
 */
import { MOST_OF_NAMESPACE, withinBudget } from '../model/budget.ts';
import type { ClusterPolicy } from '../model/cluster-policy.ts';
import {
  type Labels,
  type NetworkPolicy,
  type Node,
  type Pod,
  policyRef,
  type Source,
  type World,
} from '../model/model.ts';
import type { Problem } from '../model/problem.ts';
import { DocumentReader } from './document-reader.ts';
import { isolationOf } from './policies-of-2016.ts';

/** One document of a file, as plain values. */
export interface Document extends Source {
  readonly value: unknown;
  /** The document stands in the folder of staged policies. */
  readonly isStaged?: true;
  /** The document's policy was too large for the agent, which keeps nothing of its rules. */
  readonly isTooLarge?: true;
}

/** One object that a manifest declares, and where. */
export interface Declared {
  /** `Kind/namespace/name`, or `Kind/name` outside namespaces. */
  readonly ref: string;
  readonly source: Source;
  /** `metadata.name`'s path within the document, since a List holds many. */
  readonly path: string;
  readonly object: DeclaredObject;
}

export type DeclaredObject =
  | {
      readonly kind: 'Namespace';
      readonly name: string;
      readonly labels: Labels;
      /** True where an annotation of 2016 isolates the namespace. */
      readonly isIsolated: boolean;
    }
  | { readonly kind: 'Pod'; readonly pod: Pod }
  | { readonly kind: 'Node'; readonly node: Node }
  | {
      readonly kind: 'NetworkPolicy';
      readonly policy: NetworkPolicy;
      /** A policy of 2016 does something only where its namespace is isolated by annotation. */
      readonly needsIsolation?: boolean;
      readonly isStaged?: boolean;
    }
  | { readonly kind: 'ClusterPolicy'; readonly policy: ClusterPolicy; readonly isStaged?: boolean };

export interface Declarations {
  readonly declared: readonly Declared[];
  readonly problems: readonly Problem[];
}

/** Reads the objects of each document, in order, and merges nothing yet, so that a file's part can be kept and used again. */
export function readDocuments(documents: readonly Document[]): Declarations {
  const readers = documents.map(document => {
    const reader = new DocumentReader(document);
    reader.read(document.value);
    return reader;
  });
  return {
    declared: readers.flatMap(({ declared }) => declared),
    problems: readers.flatMap(({ problems }) => problems),
  };
}

const idleMessage =
  'Does nothing, as in its time, since no annotation isolates its namespace: annotate that, or write networking.k8s.io/v1';

/** A policy of 2016 only ever allows what the isolation of its namespace forbids. */
function inForceOf(declared: readonly Declared[]): {
  readonly inForce: readonly Declared[];
  readonly idle: readonly Declared[];
} {
  const isolated = new Set(
    declared.flatMap(({ object }) => (object.kind === 'Namespace' && object.isIsolated ? [object.name] : [])),
  );
  const isIdle = ({ object }: Declared): boolean =>
    object.kind === 'NetworkPolicy' && object.needsIsolation === true && !isolated.has(object.policy.namespace);
  return { inForce: declared.filter(each => !isIdle(each)), idle: declared.filter(isIdle) };
}

/** Policies that count as closed because of all that stand in their namespace. */
function* closedTogether(policies: readonly NetworkPolicy[]): Generator<{ policy: NetworkPolicy; says: string }> {
  for (const [namespace, own] of Map.groupBy(policies, each => each.namespace))
    for (const [i, counted] of withinBudget(own).entries())
      if (counted !== own[i])
        yield {
          policy: counted,
          says: `The policies of namespace ${namespace} come to more than ${MOST_OF_NAMESPACE} entries together, so this one closes the pods that it selects: those that come first by name count`,
        };
}

/** Whether it is a policy that is judged and not enforced. */
export const isStaged = ({ object }: Declared): boolean => 'isStaged' in object && object.isStaged === true;

const networkPoliciesIn = (declared: readonly Declared[]): readonly NetworkPolicy[] =>
  declared.flatMap(({ object }) => (object.kind === 'NetworkPolicy' ? [object.policy] : []));

const clusterPoliciesIn = (declared: readonly Declared[]): readonly ClusterPolicy[] =>
  declared.flatMap(({ object }) => (object.kind === 'ClusterPolicy' ? [object.policy] : []));

/** The declarations as one world. Of two objects of one reference the later counts, as with kubectl apply, and is an error. */
export function worldOf(declared: readonly Declared[]): {
  readonly world: World;
  readonly problems: readonly Problem[];
} {
  const byRef = new Map<string, Declared>();
  const problems: Problem[] = [];
  for (const each of declared) {
    const { ref, source, path } = each;
    // A staged policy of the same name is what the one in force may become.
    const key = isStaged(each) ? `staged ${ref}` : ref;
    const earlier = byRef.get(key);
    const where = earlier && `document ${earlier.source.document + 1} of ${earlier.source.file}`;
    const message = `Declared before in ${where}; this one counts: remove either`;
    const trial = isStaged(each) ? { isStaged: true as const } : {};
    if (earlier) problems.push({ severity: 'error', ...source, object: ref, ...trial, field: path, message });
    byRef.delete(key);
    byRef.set(key, each);
  }
  const { inForce, idle } = inForceOf([...byRef.values()]);
  const [real, trial] = [inForce.filter(each => !isStaged(each)), inForce.filter(isStaged)];
  const objects = real.map(({ object }) => object);
  const staged = { policies: networkPoliciesIn(trial), clusterPolicies: clusterPoliciesIn(trial) };
  const namespaces = objects.filter(object => object.kind === 'Namespace');
  const world = {
    namespaces: new Map(namespaces.map(({ name, labels }) => [name, labels])),
    pods: objects.flatMap(object => (object.kind === 'Pod' ? [object.pod] : [])),
    policies: [
      ...networkPoliciesIn(real),
      ...namespaces.filter(each => each.isIsolated).map(({ name }) => isolationOf(name)),
    ],
    nodes: objects.flatMap(object => (object.kind === 'Node' ? [object.node] : [])),
    clusterPolicies: clusterPoliciesIn(real),
    ...(trial.length > 0 ? { staged } : {}),
  };
  for (const { policy, says } of closedTogether(world.policies)) {
    const { source, path } = byRef.get(policyRef(policy)) ?? {};
    if (source && path !== undefined)
      problems.push({ severity: 'error', ...source, object: policyRef(policy), field: path, message: says });
  }
  for (const { ref, source, path } of idle) {
    const field = `${path.slice(0, -'metadata.name'.length)}apiVersion`;
    problems.push({ severity: 'warning', ...source, object: ref, field, message: idleMessage });
  }
  return { world, problems };
}

/** All documents as one world, with every problem found on the way. */
export function readManifests(documents: readonly Document[]): {
  readonly world: World;
  readonly problems: readonly Problem[];
} {
  const { declared, problems } = readDocuments(documents);
  const { world, problems: duplicates } = worldOf(declared);
  return { world, problems: [...problems, ...duplicates] };
}
