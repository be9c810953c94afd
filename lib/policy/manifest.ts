/**
 * Manifests, already parsed from YAML or JSON, to the world that they describe and the problems that they have.
 * Nothing here throws: what cannot be read is reported, and closed where it is a policy.
 */
import { MOST_OF_NAMESPACE, withinBudget } from './budget.ts';
import { complain, type Field, isAbsent, isMapping, itemsOf, member, shown, warn } from './field.ts';
import { isNamespaceName, isObjectName } from './label-syntax.ts';
import { alphaPolicyOf, alphaVersion, betaPolicyOf, betaVersion, isIsolated, isolationOf } from './manifest-2016.ts';
import { labelsOf, nodeOf, podOf } from './manifest-pod.ts';
import { closedNamespace, networkPolicyOf } from './manifest-policy.ts';
import { type Labels, type NetworkPolicy, type Node, type Pod, policyRef, type Source, type World } from './model.ts';
import type { Problem } from './problem.ts';
import { withNameLabel } from './selector.ts';

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
    };

export interface Declarations {
  readonly declared: readonly Declared[];
  readonly problems: readonly Problem[];
}

type Kind = DeclaredObject['kind'];

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
  return isScalar && value !== '' ? String(value) : undefined;
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

  constructor({ file, document }: Source) {
    this.#source = { file, document };
  }

  read(value: unknown): void {
    this.#object({ value, path: '', report: (...problem) => this.#report(...problem) }, '', '');
  }

  #report(severity: Problem['severity'], field: string, message: string): void {
    const object = this.#ref === '' ? {} : { object: this.#ref };
    this.problems.push({ severity, ...this.#source, ...object, field, message });
  }

  /** In a typed list (PodList) the API leaves out its items' kind and apiVersion. */
  #object(field: Field, impliedKind: string, impliedVersion: string): void {
    this.#ref = '';
    if (isAbsent(field) && field.path === '') return;
    if (!isMapping(field.value)) {
      complain(field, `${shown(field.value)} where an object with apiVersion and kind is expected`);
      return;
    }
    const kindField = member(field, 'kind');
    const kind = isAbsent(kindField) ? impliedKind : String(kindField.value);
    const apiVersion = String(member(field, 'apiVersion').value ?? impliedVersion);
    if (kind === '') complain(kindField, 'Missing: write what this is, kind: NetworkPolicy for one');
    else if (kind.endsWith('List') && Array.isArray(member(field, 'items').value ?? []))
      for (const item of itemsOf(member(field, 'items')) ?? [])
        this.#object(item, kind.slice(0, -'List'.length), apiVersion);
    else this.#known({ field, kind, apiVersion });
  }

  /** Whatever else a manifest declares (Services, Deployments) is none of policy's business. */
  #known(item: Item): void {
    if (item.kind === 'NetworkPolicy') this.#policy(item);
    else if (item.apiVersion !== 'v1') return;
    else if (item.kind === 'Pod') this.#declare(item, 'Pod', id => ({ kind: 'Pod', pod: podOf(item.field, id) }));
    else if (item.kind === 'Node') this.#declare(item, 'Node', id => ({ kind: 'Node', node: nodeOf(item.field, id) }));
    else if (item.kind === 'Namespace')
      this.#declare(item, 'Namespace', ({ name }) => ({
        kind: 'Namespace',
        name,
        labels: withNameLabel(name, labelsOf(item.field)),
        isIsolated: isIsolated(item.field),
      }));
  }

  #policy(item: Item): void {
    const group = item.apiVersion.includes('/') ? item.apiVersion.split('/')[0]! : '';
    const isKubernetes = ['networking.k8s.io', 'extensions', 'net.alpha.kubernetes.io', ''].includes(group);
    const version = member(item.field, 'apiVersion');
    if (!isKubernetes) {
      warn(version, `${shown(item.apiVersion)} is another project's policy and is not enforced`);
      return;
    }
    this.#declare(item, 'NetworkPolicy', id => {
      const named = { kind: 'NetworkPolicy', ...id, source: this.#source } as const;
      if (item.apiVersion === 'networking.k8s.io/v1')
        return { kind: 'NetworkPolicy', policy: networkPolicyOf(item.field, named) };
      if (item.apiVersion === alphaVersion)
        return { kind: 'NetworkPolicy', policy: alphaPolicyOf(item.field, named), needsIsolation: true };
      if (item.apiVersion === betaVersion) return { kind: 'NetworkPolicy', ...betaPolicyOf(item.field, named) };
      const instead = 'so the policy closes every pod of its namespace: write networking.k8s.io/v1';
      complain(version, `${shown(item.apiVersion)} is no version of NetworkPolicy that is known here, ${instead}`);
      return { kind: 'NetworkPolicy', policy: closedNamespace(named) };
    });
  }

  #declare(
    { field }: Item,
    kind: Kind,
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

/** The declarations as one world. Of two objects of the same kind, namespace and name the later one counts, as with kubectl apply; it is an error all the same. */
export function worldOf(declared: readonly Declared[]): {
  readonly world: World;
  readonly problems: readonly Problem[];
} {
  const byRef = new Map<string, Declared>();
  const problems: Problem[] = [];
  for (const { ref, source, path, ...rest } of declared) {
    const earlier = byRef.get(ref);
    const where = earlier && `document ${earlier.source.document + 1} of ${earlier.source.file}`;
    const message = `Declared before in ${where}; this one counts: remove either`;
    if (earlier) problems.push({ severity: 'error', ...source, object: ref, field: path, message });
    byRef.delete(ref);
    byRef.set(ref, { ref, source, path, ...rest });
  }
  const { inForce, idle } = inForceOf([...byRef.values()]);
  const objects = inForce.map(({ object }) => object);
  const namespaces = objects.filter(object => object.kind === 'Namespace');
  const world = {
    namespaces: new Map(namespaces.map(({ name, labels }) => [name, labels])),
    pods: objects.flatMap(object => (object.kind === 'Pod' ? [object.pod] : [])),
    policies: [
      ...objects.flatMap(object => (object.kind === 'NetworkPolicy' ? [object.policy] : [])),
      ...namespaces.filter(each => each.isIsolated).map(({ name }) => isolationOf(name)),
    ],
    nodes: objects.flatMap(object => (object.kind === 'Node' ? [object.node] : [])),
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
