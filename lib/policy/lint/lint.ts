/** Finds what is wrong with manifests, and what looks wrong, before a node enforces them. */
import { isMapping } from '../manifest/field.ts';
import { type Declared, type Document, isStaged, readDocuments, worldOf } from '../manifest/manifest.ts';
import type { AnyPolicy, Pod, World } from '../model/model.ts';
import type { Problem, Severity } from '../model/problem.ts';
import { promoted } from '../model/staged.ts';
import { coversPods, exceptReopened } from './blocks.ts';
import { clusterOddities, isClusterPolicy } from './cluster-policies.ts';
import { dnsCutOff } from './dns-egress.ts';
import { pointless } from './pointless.ts';
import { type Check, type DeclaredPolicy, isPolicy, selectsNobody, unknownPortName } from './rule.ts';
import { type Scope, Surroundings } from './surroundings.ts';

export interface LintOptions {
  /** The mildest severity to tell of. */
  readonly least?: Severity;
  /** Instead of the manifests' own pods: those of a node, which are all that it knows of. */
  readonly node?: { readonly pods: readonly Pod[] };
}

/** The checks of one world. */
const checksFor = (around: Surroundings): readonly Check[] => [
  selectsNobody,
  unknownPortName,
  coversPods(around),
  exceptReopened(around),
  dnsCutOff(around),
  pointless(around),
];

/** Each policy of the document as it was written, with its place: `items[3].spec`. */
function writtenIn({
  value,
}: Document): readonly { readonly spec: unknown; readonly path: string; readonly object: string }[] {
  if (!isMapping(value)) return [];
  const kind = String(value['kind']);
  const written = (item: unknown, path: string) => {
    const { namespace = 'default', name } = isMapping(item) && isMapping(item['metadata']) ? item['metadata'] : {};
    return isMapping(item) ? [{ spec: item['spec'], path, object: `NetworkPolicy/${namespace}/${name}` }] : [];
  };
  if (kind === 'NetworkPolicy') return written(value, 'spec');
  const items = kind.endsWith('List') && Array.isArray(value['items']) ? value['items'] : [];
  const isPolicyItem = (item: unknown): boolean =>
    isMapping(item) && (item['kind'] ?? kind.slice(0, -'List'.length)) === 'NetworkPolicy';
  return items.flatMap((item, i) => (isPolicyItem(item) ? written(item, `items[${i}].spec`) : []));
}

const saysNoProtocol = (port: unknown): boolean =>
  isMapping(port) && (port['protocol'] ?? undefined) === undefined && (port['port'] ?? undefined) !== undefined;

/** The fields of ports, below this one, that do not say their protocol. The model does not tell them from those that do. */
function portsWithoutProtocol(value: unknown, path: string): readonly string[] {
  if (Array.isArray(value)) return value.flatMap((item, i) => portsWithoutProtocol(item, `${path}[${i}]`));
  if (!isMapping(value)) return [];
  return Object.entries(value).flatMap(([key, item]) => {
    const field = `${path}.${key}`;
    const own = key === 'ports' && Array.isArray(item) ? item : [];
    return [
      ...own.flatMap((port, i) => (saysNoProtocol(port) ? [`${field}[${i}]`] : [])),
      ...portsWithoutProtocol(item, field),
    ];
  });
}

const missingProtocols = (document: Document): readonly Problem[] =>
  writtenIn(document).flatMap(({ spec, path, object }) =>
    portsWithoutProtocol(spec, path).map(field => ({
      severity: 'warning',
      file: document.file,
      document: document.document,
      object,
      field,
      message: 'No protocol, so TCP alone is meant: write "protocol: TCP", or UDP or SCTP if you mean these',
    })),
  );

/** Where the policy stands in its document: `items[3].`, or nothing. */
const placeOf = ({ path }: Declared): string => path.slice(0, path.length - 'metadata.name'.length);

/** Oddities of these policies of the world, policy by policy. */
export function odditiesOf(policies: readonly DeclaredPolicy[], world: World, scope: Scope): readonly Problem[] {
  const around = new Surroundings(world, scope);
  const checks = checksFor(around);
  const problems: Problem[] = [];
  for (const declared of policies) {
    const { policy } = declared.object;
    const report = (field: string, message: string): void => {
      const place = `${placeOf(declared)}${field}`;
      problems.push({ severity: 'warning', ...declared.source, object: declared.ref, field: place, message });
    };
    const subjects = around.subjectsOf(policy);
    for (const check of checks) check({ policy, around, subjects, report });
  }
  return problems;
}

/** Oddities of those declared policies that are in this world. */
function oddIn(
  world: World,
  declared: readonly Declared[],
  documents: readonly Document[],
  scope: Scope,
): readonly Problem[] {
  const inForce = new Set<AnyPolicy>([...world.policies, ...(world.clusterPolicies ?? [])]);
  const policies = declared.filter(isPolicy).filter(({ object }) => inForce.has(object.policy));
  const clusterPolicies = declared.filter(isClusterPolicy).filter(({ object }) => inForce.has(object.policy));
  return [...odditiesOf(policies, world, scope), ...clusterOddities(clusterPolicies, world, documents, scope)];
}

/** Problems that are legal and probably unmeant. Invalid policies are reported already; staged ones are judged as if in force. */
function unmeant(
  documents: readonly Document[],
  declared: readonly Declared[],
  world: World,
  errors: readonly Problem[],
  scope: Scope,
): readonly Problem[] {
  const invalid = new Set(errors.map(({ object }) => object));
  const heeded = declared.filter(({ ref }) => !invalid.has(ref));
  const after = promoted(world);
  return [
    ...documents.flatMap(missingProtocols),
    ...oddIn(world, heeded, documents, scope),
    ...(after ? oddIn(after, heeded.filter(isStaged), documents, scope) : []),
  ];
}

const inPlace = (a: Problem, b: Problem): number =>
  a.file === b.file ? a.document - b.document : a.file < b.file ? -1 : 1;

/** The problems of the documents; errors alone unless asked for more, and then in the order of files and documents. */
export function lint(documents: readonly Document[], { least = 'error', node }: LintOptions = {}): readonly Problem[] {
  const { declared, problems } = readDocuments(documents);
  const { world, problems: more } = worldOf(declared);
  const found = [...problems, ...more];
  const errors = found.filter(({ severity }) => severity === 'error');
  if (least === 'error') return errors;
  const judged = node ? { ...world, pods: node.pods } : world;
  return [...found, ...unmeant(documents, declared, judged, errors, node ? 'node' : 'cluster')].sort(inPlace);
}
