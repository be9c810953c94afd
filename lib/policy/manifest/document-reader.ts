/** One document of manifests: which objects it declares, and what is wrong with it. */
import { isNamespaceName, isObjectName } from '../../tag/object-names.ts';
import { printable } from '../../tag/printable.ts';
import { type ClusterPolicy, clusterKinds } from '../model/cluster-policy.ts';
import type { Source } from '../model/model.ts';
import type { Problem } from '../model/problem.ts';
import { withNameLabel } from '../model/selector.ts';
import { clusterPolicyOf, tooLargeCluster } from './cluster-network-policy.ts';
import { complain, type Field, isAbsent, isMapping, itemsOf, member, shown } from './field.ts';
import { groupOf, standingOf } from './kinds.ts';
import type { Declared, DeclaredObject, Document } from './manifest.ts';
import { checkMetadata } from './metadata.ts';
import { closedNamespace, networkPolicyOf, tooLarge } from './network-policy.ts';
import { labelsOf, nodeOf, podOf } from './pod.ts';
import { alphaPolicyOf, alphaVersion, betaPolicyOf, betaVersion, isIsolated } from './policies-of-2016.ts';
import { isStaged } from './staged.ts';

/** Beside policies. */
const declaredKinds = ['Namespace', 'Pod', 'Node'];

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

interface Named {
  readonly namespace: string;
  readonly name: string;
}

type DeclaredPolicy = Extract<DeclaredObject, { readonly policy: unknown }>;

/** One document's objects. */
export class DocumentReader {
  readonly problems: Problem[] = [];
  readonly declared: Declared[] = [];
  readonly #source: Source;
  /** Every policy of the document is staged, since its file is in the folder of staged policies. */
  readonly #isStaged: boolean;
  readonly #isTooLarge: boolean;
  #ref = '';
  /** The object that is being read is staged. */
  #isTrial = false;

  constructor({ file, document, resourceVersion, isStaged: isTrial, isTooLarge }: Omit<Document, 'value'>) {
    this.#source = { file, document, ...(resourceVersion === undefined ? {} : { resourceVersion }) };
    this.#isStaged = isTrial === true;
    this.#isTooLarge = isTooLarge === true;
  }

  read(value: unknown): void {
    this.#object({ value, path: '', report: (...problem) => this.#report(...problem) }, '', '');
  }

  #report(severity: Problem['severity'], field: string, message: string, matter?: Problem['matter']): void {
    const object = this.#ref === '' ? {} : { object: this.#ref };
    const trial = this.#isTrial ? { isStaged: true as const } : {};
    this.problems.push({
      severity,
      ...this.#source,
      ...object,
      ...trial,
      field,
      message,
      ...(matter ? { matter } : {}),
    });
  }

  #unreadable({ path }: Field, message: string): undefined {
    this.#report('error', path, message, 'unreadable');
  }

  /** In a typed list (PodList) the API leaves out its items' kind and apiVersion. */
  #object(field: Field, impliedKind: string, impliedVersion: string): undefined {
    this.#ref = '';
    this.#isTrial = false;
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
    // A policy without a version, or with an unknown one, still says which pods it closes.
    if (isPolicy && groupOf(apiVersion) === '') return this.#policy(item);
    if (apiVersion === '')
      return this.#unreadable(member(field, 'apiVersion'), 'Missing: write which API this is of, as in apiVersion: v1');
    const standing = standingOf(apiVersion, kind);
    if (standing.is === 'unknown') return this.#unreadable(member(field, standing.at), standing.why);
    if (standing.is === 'unenforced') return this.#unenforced(item, standing.why);
    if (isPolicy) this.#policy(item);
    else if (isClusterKind(kind)) this.#clusterPolicy(item, kind);
    else if (apiVersion !== 'v1') return;
    else if (this.#isStaged && declaredKinds.includes(kind)) this.#unstaged(item);
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

  /** Warns of an object in the folder of staged policies that would count for policies in force. */
  #unstaged({ field, kind }: Item): undefined {
    const message = `A ${kind} in the folder of staged policies, where it does not count: move it beside the others`;
    this.#report('warning', member(field, 'kind').path, message);
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
    this.#declarePolicy(item, id => {
      const named = { kind: 'NetworkPolicy', ...id, source: this.#source } as const;
      switch (item.apiVersion) {
        case 'networking.k8s.io/v1':
          return { kind: 'NetworkPolicy', policy: networkPolicyOf(item.field, named) };
        case alphaVersion:
          return { kind: 'NetworkPolicy', policy: alphaPolicyOf(item.field, named), needsIsolation: true };
        case betaVersion:
          return { kind: 'NetworkPolicy', ...betaPolicyOf(item.field, named) };
        default: {
          const instead = 'so the policy closes every pod of its namespace: write networking.k8s.io/v1';
          const version = member(item.field, 'apiVersion');
          complain(version, `${shown(item.apiVersion)} is no version of NetworkPolicy that is known here, ${instead}`);
          return { kind: 'NetworkPolicy', policy: closedNamespace(named) };
        }
      }
    });
  }

  #clusterPolicy(item: Item, kind: ClusterPolicy['kind']): undefined {
    this.#declarePolicy(item, ({ name }) => ({
      kind: 'ClusterPolicy',
      policy: clusterPolicyOf(item.field, item.apiVersion, { kind, name, source: this.#source }),
    }));
  }

  /** A policy of any kind and version, however broken: whether it is staged is found out before what it says is read. */
  #declarePolicy(item: Item, read: (id: Named) => DeclaredPolicy): void {
    this.#declare(item, id => {
      this.#isTrial = isStaged(item.field, this.#isStaged);
      return { ...this.#counted(item, read(id)), ...(this.#isTrial ? { isStaged: true } : {}) };
    });
  }

  #counted({ field }: Item, declared: DeclaredPolicy): DeclaredPolicy {
    if (!this.#isTooLarge) return declared;
    return declared.kind === 'NetworkPolicy'
      ? { ...declared, policy: tooLarge(field, declared.policy) }
      : { ...declared, policy: tooLargeCluster(field, declared.policy) };
  }

  #declare({ field, kind }: Item, read: (id: Named) => DeclaredObject): void {
    const metadata = member(field, 'metadata');
    const isNamespaced = kind === 'Pod' || kind === 'NetworkPolicy';
    const nameField = member(metadata, 'name');
    const name = nameOf(nameField, kind === 'Namespace' ? isNamespaceName : isObjectName) ?? this.#madeUpName();
    const namespaceField = member(metadata, 'namespace');
    const namespace =
      isNamespaced && !isAbsent(namespaceField) ? (nameOf(namespaceField, isNamespaceName) ?? 'default') : 'default';
    this.#ref = isNamespaced ? `${kind}/${namespace}/${name}` : `${kind}/${name}`;
    checkMetadata(metadata, isNamespaced);
    const object = read({ namespace, name });
    this.declared.push({ ref: this.#ref, source: this.#source, path: nameField.path, object });
  }

  /** Unlike any other, so that an object that lost its name replaces nothing. */
  #madeUpName(): string {
    return `unnamed-${this.declared.length}@${this.#source.file}#${this.#source.document}`;
  }
}
