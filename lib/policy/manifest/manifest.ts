/**
 * Manifests, already parsed from YAML or JSON, to the world that they describe and the problems that they have.
 * Nothing here throws: what cannot be read is reported, and closed where it is a policy.
 */
import { isNamespaceName, isObjectName } from '../../tag/names.ts';
import { printable } from '../../tag/printable.ts';
import { MOST_OF_NAMESPACE, withinBudget } from '../model/budget.ts';
import { type ClusterPolicy, clusterKinds } from '../model/cluster-policy.ts';
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
import { withNameLabel } from '../model/selector.ts';
import { clusterPolicyOf } from './cluster-network-policy.ts';
import { complain, type Field, isAbsent, isMapping, itemsOf, member, shown } from './field.ts';
import { groupOf, standingOf } from './kinds.ts';
import { closedNamespace, networkPolicyOf } from './network-policy.ts';
import { labelsOf, nodeOf, podOf } from './pod.ts';
import { alphaPolicyOf, alphaVersion, betaPolicyOf, betaVersion, isIsolated, isolationOf } from './policies-of-2016.ts';
import { isStaged } from './staged.ts';

/** One document of a file, as plain values. */
export interface Document extends Source {
  readonly value: unknown;
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
      /** By an annotation of 2016. */
      readonly isIsolated: boolean;
    }
  | { readonly kind: 'Pod'; readonly pod: Pod }
  | { readonly kind: 'Node'; readonly node: Node }
  | {
      readonly kind: 'NetworkPolicy';
      readonly policy: NetworkPolicy;
      /** Of 2016: it does something only where its namespace is isolated by annotation. */
      readonly needsIsolation?: boolean;
      readonly isStaged?: boolean;
    }
  | { readonly kind: 'ClusterPolicy'; readonly policy: ClusterPolicy; readonly isStaged?: boolean };

export interface Declarations {
  readonly declared: readonly Declared[];
  readonly problems: readonly Problem[];
}

const isClusterKind = (kind: string): kind is ClusterPolicy['kind'] =>
  (clusterKinds as readonly string[]).includes(kind);

/** A name that YAML took for something else is still the best guess at what it names. */
function nameOf(field: Field, fits: (name: string) => boolean): string | undefined {
  const { value } = field;
  if (typeof value === 'string' && fits(value)) return value;
  if (isAbsent(field)) return complain(field, 'Missing: write a name');
  const isScalar = ['string', 'number', 'boolean'].includes(typeof value);
  complain(
    field,
    `${shown(value)} is no name: write a-z, 0-9 and "-"${isScalar && typeof value !== 'string' ? ', in quotes' : ''}`,
  );
  return isScalar && value !== '' ? printable(String(value)) : undefined;
}

interface Item {
  readonly field: Field;
  readonly kind: string;
  readonly apiVersion: string;
}

/** One document's objects. */
class DocumentReader {
  readonly problems: Problem[] = [];
  readonly declared: Declared[] = [];
  readonly #source: Source;
  #ref = '';

  constructor({ file, document, resourceVersion }: Source) {
    this.#source = { file, document, ...(resourceVersion === undefined ? {} : { resourceVersion }) };
  }

  read(value: unknown): void {
    this.#object({ value, path: '', report: (...problem) => this.#report(...problem) }, '', '');
  }

  #report(severity: Problem['severity'], field: string, message: string, matter?: Problem['matter']): void {
    const object = this.#ref === '' ? {} : { object: this.#ref };
    this.problems.push({ severity, ...this.#source, ...object, field, message, ...(matter ? { matter } : {}) });
  }

  #unreadable({ path }: Field, message: string): undefined {
    this.#report('error', path, message, 'unreadable');
  }

  /** In a typed list (PodList) the API leaves out its items' kind and apiVersion. */
  #object(field: Field, impliedKind: string, impliedVersion: string): undefined {
    this.#ref = '';
    if (isAbsent(field) && field.path === '') return;
    if (!isMapping(field.value))
      return this.#unreadable(field, `${shown(field.value)} where an object with apiVersion and kind is expected`);
    const kindField = member(field, 'kind');
    const kind = isAbsent(kindField) ? impliedKind : String(kindField.value);
    const apiVersion = String(member(field, 'apiVersion').value ?? impliedVersion);
    if (kind === '') return this.#unreadable(kindField, 'Missing: write what this is, kind: NetworkPolicy for one');
    if (kind.endsWith('List') && Array.isArray(member(field, 'items').value ?? []))
      return this.#list(member(field, 'items'), kind.slice(0, -'List'.length), apiVersion);
    if (kind === 'List')
      return this.#unreadable(
        member(field, 'items'),
        `${shown(member(field, 'items').value)} where a list is expected`,
      );
    this.#known({ field, kind, apiVersion });
  }

  /** A kind of another group may be a list of anything, and is looked into for objects that say what they are. */
  #list(items: Field, impliedKind: string, apiVersion: string): undefined {
    const isForeign = impliedKind !== '' && standingOf(apiVersion, impliedKind).is === 'foreign';
    for (const item of itemsOf(items) ?? [])
      if (!isForeign || !isAbsent(member(item, 'kind'))) this.#object(item, impliedKind, apiVersion);
  }

  /** Whatever else a manifest declares (Services, Deployments) is none of policy's business. */
  #known(item: Item): undefined {
    const { field, kind, apiVersion } = item;
    const isPolicy = kind === 'NetworkPolicy';
    // Of a policy without a version or with an unknown one it is known what it closes.
    if (isPolicy && groupOf(apiVersion) === '') return this.#policy(item);
    if (apiVersion === '')
      return this.#unreadable(member(field, 'apiVersion'), 'Missing: write which API this is of, as in apiVersion: v1');
    const standing = standingOf(apiVersion, kind);
    if (standing.is === 'unknown') return this.#unreadable(member(field, standing.at), standing.why);
    if (standing.is === 'unenforced') return this.#unenforced(item, standing.why);
    if (isPolicy) this.#policy(item);
    else if (isClusterKind(kind)) this.#clusterPolicy(item, kind);
    else if (apiVersion !== 'v1') return;
    else if (kind === 'Pod') this.#declare(item, id => ({ kind: 'Pod', pod: podOf(field, id) }));
    else if (kind === 'Node') this.#declare(item, id => ({ kind: 'Node', node: nodeOf(field, id) }));
    else if (kind === 'Namespace')
      this.#declare(item, ({ name }) => ({
        kind: 'Namespace',
        name,
        labels: withNameLabel(name, labelsOf(field)),
        isIsolated: isIsolated(field),
      }));
  }

  /** Named as its metadata has it: whose it is checks it. */
  #unenforced({ field, kind }: Item, why: string): undefined {
    const metadata = member(field, 'metadata');
    const names = ['namespace', 'name']
      .map(key => member(metadata, key).value)
      .filter(name => typeof name === 'string');
    this.#ref = [kind, ...names].map(printable).join('/');
    this.#report('warning', member(field, 'apiVersion').path, why, 'unenforced');
  }

  #policy(item: Item): undefined {
    const version = member(item.field, 'apiVersion');
    this.#declare(item, id => {
      const named = { kind: 'NetworkPolicy', ...id, source: this.#source } as const;
      const staged = isStaged(item.field) ? { isStaged: true } : {};
      if (item.apiVersion === 'networking.k8s.io/v1')
        return { kind: 'NetworkPolicy', policy: networkPolicyOf(item.field, named), ...staged };
      if (item.apiVersion === alphaVersion)
        return { kind: 'NetworkPolicy', policy: alphaPolicyOf(item.field, named), needsIsolation: true, ...staged };
      if (item.apiVersion === betaVersion)
        return { kind: 'NetworkPolicy', ...betaPolicyOf(item.field, named), ...staged };
      const instead = 'so the policy closes every pod of its namespace: write networking.k8s.io/v1';
      complain(version, `${shown(item.apiVersion)} is no version of NetworkPolicy that is known here, ${instead}`);
      return { kind: 'NetworkPolicy', policy: closedNamespace(named) };
    });
  }

  #clusterPolicy({ field, ...item }: Item, kind: ClusterPolicy['kind']): undefined {
    this.#declare({ field, ...item }, ({ name }) => {
      const named = { kind, name, source: this.#source };
      return {
        kind: 'ClusterPolicy',
        policy: clusterPolicyOf(field, item.apiVersion, named),
        ...(isStaged(field) ? { isStaged: true } : {}),
      };
    });
  }

  #declare(
    { field, kind }: Item,
    read: (id: { readonly namespace: string; readonly name: string }) => DeclaredObject,
  ): void {
    const metadata = member(field, 'metadata');
    const isNamespaced = kind === 'Pod' || kind === 'NetworkPolicy';
    const nameField = member(metadata, 'name');
    const name = nameOf(nameField, kind === 'Namespace' ? isNamespaceName : isObjectName) ?? this.#madeUpName();
    const namespaceField = member(metadata, 'namespace');
    const namespace =
      isNamespaced && !isAbsent(namespaceField) ? (nameOf(namespaceField, isNamespaceName) ?? 'default') : 'default';
    this.#ref = isNamespaced ? `${kind}/${namespace}/${name}` : `${kind}/${name}`;
    const object = read({ namespace, name });
    this.declared.push({ ref: this.#ref, source: this.#source, path: nameField.path, object });
  }

  /** Unlike any other, so that an object that lost its name replaces nothing. */
  #madeUpName(): string {
    return `unnamed-${this.declared.length}@${this.#source.file}#${this.#source.document}`;
  }
}

/** What each document declares, in order; nothing is merged yet, so that a file's part can be kept and used again. */
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

const isTrial = ({ object }: Declared): boolean => 'isStaged' in object && object.isStaged === true;

const networkPoliciesIn = (declared: readonly Declared[]): readonly NetworkPolicy[] =>
  declared.flatMap(({ object }) => (object.kind === 'NetworkPolicy' ? [object.policy] : []));

const clusterPoliciesIn = (declared: readonly Declared[]): readonly ClusterPolicy[] =>
  declared.flatMap(({ object }) => (object.kind === 'ClusterPolicy' ? [object.policy] : []));

/** The declarations as one world. Of two objects of the same kind, namespace and name the later one counts, as with kubectl apply; it is an error all the same. */
export function worldOf(declared: readonly Declared[]): {
  readonly world: World;
  readonly problems: readonly Problem[];
} {
  const byRef = new Map<string, Declared>();
  const problems: Problem[] = [];
  for (const each of declared) {
    const { ref, source, path } = each;
    // A staged policy of the same name is what the one in force may become.
    const key = isTrial(each) ? `staged ${ref}` : ref;
    const earlier = byRef.get(key);
    const where = earlier && `document ${earlier.source.document + 1} of ${earlier.source.file}`;
    const message = `Declared before in ${where}; this one counts: remove either`;
    if (earlier) problems.push({ severity: 'error', ...source, object: ref, field: path, message });
    byRef.delete(key);
    byRef.set(key, each);
  }
  const { inForce, idle } = inForceOf([...byRef.values()]);
  const [real, trial] = [inForce.filter(each => !isTrial(each)), inForce.filter(isTrial)];
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
