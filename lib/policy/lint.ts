/** What is wrong with manifests, before anybody relies on them, and what looks wrong. */
import { clusterOf, isSeen } from './cluster.ts';
import { isMapping } from './field.ts';
import { type Declared, type Document, readDocuments, worldOf } from './manifest.ts';
import type { Pod, World } from './model.ts';
import type { Problem, Severity } from './problem.ts';
import { selects } from './selector.ts';
import { type Check, type DeclaredPolicy, isPolicy, type Scope, selectsNobody, unknownPortName } from './unmeant.ts';
import { coversPods, exceptReopened } from './unmeant-blocks.ts';
import { dnsCutOff } from './unmeant-dns.ts';
import { pointless } from './unmeant-pointless.ts';

export { formatProblem } from './problem.ts';

export interface LintOptions {
  /** The mildest severity to tell of. */
  readonly least?: Severity;
  /** Instead of the manifests' own pods: those of a node, which are all that it knows of. */
  readonly node?: { readonly pods: readonly Pod[] };
}

const checks: readonly Check[] = [selectsNobody, unknownPortName, coversPods, exceptReopened, dnsCutOff, pointless];

/** Ports that do not say their protocol. The model does not tell them from those that do. */
function missingProtocols({ file, document, value }: Document): readonly Problem[] {
  const problems: Problem[] = [];
  const visit = (value: unknown, path: string): void => {
    if (Array.isArray(value)) for (const [i, item] of value.entries()) visit(item, `${path}[${i}]`);
    else if (isMapping(value))
      for (const [key, item] of Object.entries(value)) {
        visit(item, path === '' ? key : `${path}.${key}`);
        if (key === 'ports' && Array.isArray(item))
          for (const [i, port] of item.entries()) look(port, `${path}.ports[${i}]`);
      }
  };
  const look = (port: unknown, field: string): void => {
    if (!isMapping(port) || (port['protocol'] ?? undefined) !== undefined || port['port'] === undefined) return;
    const message = `No protocol, so TCP alone is meant: write "protocol: TCP", or UDP or SCTP if you mean these`;
    problems.push({ severity: 'warning', file, document, field, message });
  };
  const policies = isMapping(value) && value['kind'] === 'NetworkPolicy' ? value : undefined;
  if (policies) visit(policies['spec'], 'spec');
  else if (isMapping(value) && String(value['kind']).endsWith('List') && Array.isArray(value['items']))
    for (const [i, item] of value['items'].entries())
      if (isMapping(item) && (item['kind'] ?? String(value['kind']).slice(0, -4)) === 'NetworkPolicy')
        visit(item['spec'], `items[${i}].spec`);
  return problems;
}

/** Where the policy stands in its document: `items[3].`, or nothing. */
const placeOf = ({ path }: Declared): string => path.slice(0, path.length - 'metadata.name'.length);

function unmeantIn(declared: DeclaredPolicy, world: World, scope: Scope): readonly Problem[] {
  const { policy } = declared.object;
  const problems: Problem[] = [];
  const pods = world.pods.filter(isSeen);
  const subjects = pods.filter(
    ({ namespace, labels }) => namespace === policy.namespace && selects(policy.subject, labels),
  );
  const report = (field: string, message: string): void => {
    const place = `${placeOf(declared)}${field}`;
    problems.push({ severity: 'warning', ...declared.source, object: declared.ref, field: place, message });
  };
  for (const check of checks) check({ policy, world, cluster: clusterOf(world), subjects, pods, scope, report });
  return problems;
}

/** What is legal and probably unmeant. Policies that are invalid are told of already. */
function unmeant(
  documents: readonly Document[],
  declared: readonly Declared[],
  world: World,
  errors: readonly Problem[],
  scope: Scope,
): readonly Problem[] {
  const invalid = new Set(errors.map(({ object }) => object));
  const inForce = new Set(world.policies);
  const policies = declared
    .filter(isPolicy)
    .filter(({ ref, object }) => inForce.has(object.policy) && !invalid.has(ref));
  return [...documents.flatMap(missingProtocols), ...policies.flatMap(policy => unmeantIn(policy, world, scope))];
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
