import { relabelled } from '../../gate/node-state.ts';
import { worldOfNode } from '../../gate/node-world.ts';
import type { PortSpan } from '../../policy/compile/ruleset.ts';
import type { EvaluateOptions } from '../../policy/evaluate/evaluate.ts';
import { type Change, diff, type PolicyDiff } from '../../policy/explain/diff.ts';
import { type Declared, isStaged, readDocuments, worldOf } from '../../policy/manifest/manifest.ts';
import type { World } from '../../policy/model/model.ts';
import { promoted } from '../../policy/model/staged.ts';
import { command, type Exit, exit, outputOption, print, printJson, UsageError, warn } from '../command.ts';
import { type LiveArguments, liveOptions } from '../live-node.ts';
import { judgedWorld, liveWorld, warnOfErrors } from './judged.ts';
import { fileOption, readFiles, refuseUnreadable, STDIN } from './manifests.ts';

type KeyOf = (declared: Declared) => string;

/** An API server has one object of a name: one that becomes staged is in force no longer. */
const inApi: KeyOf = ({ ref }) => ref;

/** In a folder a staged policy stands beside the one in force of its name. */
const inFolder: KeyOf = each => (isStaged(each) ? `staged ${each.ref}` : each.ref);

/** The new objects over the old ones, as kubectl apply lays them, or as a file that comes into a folder. */
function laidOver(old: readonly Declared[], now: readonly Declared[], keyOf: KeyOf): readonly Declared[] {
  const keys = new Set(now.map(keyOf));
  return [...old.filter(each => !keys.has(keyOf(each))), ...now];
}

/** The new objects alone; but of kinds other than policies that they do not speak of at all, the old ones. */
function inPlaceOf(old: readonly Declared[], now: readonly Declared[]): readonly Declared[] {
  const kinds = new Set(['NetworkPolicy', 'ClusterPolicy', ...now.map(({ object }) => object.kind)]);
  return [...old.filter(({ object }) => !kinds.has(object.kind)), ...now];
}

interface Sides {
  readonly before: World;
  readonly after: World;
  readonly options: EvaluateOptions;
}

interface Asked extends LiveArguments {
  readonly base: string[] | undefined;
  readonly whole: boolean | undefined;
}

async function sidesOf(asked: Asked, now: readonly Declared[]): Promise<Sides> {
  if (asked.base) {
    const { documents, problems } = readFiles(asked.base);
    const { declared, problems: more } = readDocuments(documents);
    const before = worldOf(declared);
    refuseUnreadable([...problems, ...more]);
    warnOfErrors({ problems: [...more, ...before.problems] });
    const laid = (asked.whole ?? true) ? inPlaceOf(declared, now) : laidOver(declared, now, inApi);
    return { before: before.world, after: worldOf(laid).world, options: {} };
  }
  const { world: before, state, documents, options } = await liveWorld(asked);
  const { declared } = readDocuments(documents);
  const keyOf = state.owner.enforcer === 'agent' ? inApi : inFolder;
  const { world } = worldOf(asked.whole ? inPlaceOf(declared, now) : laidOver(declared, now, keyOf));
  return {
    before,
    after: worldOfNode(
      world,
      relabelled(state, world.pods, () => false),
    ),
    options,
  };
}

const enough = 6;

function namesText(names: readonly string[]): string {
  const shown = names.slice(0, enough).join(', ');
  return names.length > enough ? `${shown} and ${names.length - enough} more` : shown;
}

const spanText = ({ first, last }: PortSpan): string => (first === last ? String(first) : `${first}-${last}`);

function trafficText({ traffic }: Change): string {
  const parts = traffic.map(({ protocol, ports }) => {
    if (protocol === 'other') return 'traffic without ports';
    const [only] = ports;
    const isWhole = ports.length === 1 && only!.first === 0 && only!.last === 65535;
    return isWhole ? `all ${protocol}` : `${protocol} ${ports.map(spanText).join(', ')}`;
  });
  const isEverything = parts.join() === 'all TCP,all UDP,all SCTP,traffic without ports';
  return isEverything ? 'everything' : parts.join('; ');
}

const familiesText = ({ families }: Change): string =>
  families.map(family => (family === null ? 'by labels' : `IPv${family}`)).join(' and ');

const changeText = (change: Change): string =>
  [
    `${change.change === 'opens' ? '+ opens ' : '- closes'}  ${namesText(change.from)} to ${namesText(change.to)}`,
    `          ${trafficText(change)}; ${familiesText(change)}`,
    `          ${change.why}`,
  ].join('\n');

export function differenceText({ changes, onlyBefore, onlyAfter }: PolicyDiff): string {
  const counts = (['opens', 'closes'] as const).map(
    kind => `${changes.filter(({ change }) => change === kind).length} ${kind === 'opens' ? 'open' : 'close'}`,
  );
  const head = changes.length === 0 ? 'No connection opens or closes.' : `Kinds of connections: ${counts.join(', ')}.`;
  const gone = onlyBefore.length > 0 ? [`Not compared, since they are gone: ${namesText(onlyBefore)}`] : [];
  const fresh = onlyAfter.length > 0 ? [`Not compared, since they are new: ${namesText(onlyAfter)}`] : [];
  return [head, ...changes.map(changeText), ...gone, ...fresh].join('\n');
}

function told({ before, after, options }: Sides, isInvalid: boolean, output: string | undefined): Exit {
  const difference = diff(before, after, options);
  if (output === 'json') printJson(difference);
  else print(differenceText(difference));
  return isInvalid || difference.changes.length > 0 ? exit.no : exit.yes;
}

interface StagedArguments extends LiveArguments {
  readonly file: string[] | undefined;
  readonly base: string[] | undefined;
  readonly output: string | undefined;
}

async function diffStaged(options: StagedArguments): Promise<Exit> {
  if (options.base)
    throw new UsageError('Cannot compare staged policies with --base: they are compared with what is beside them');
  const judged = await judgedWorld(options);
  const { world } = judged;
  const after = promoted(world);
  if (!after)
    warn('there are no staged policies: annotate one with tollgate.dev/staged: "true", or put it into staged/');
  warnOfErrors(judged);
  // A policy that is in force and invalid is no news that promoting would bring.
  const isInvalid = judged.problems.some(({ severity, isStaged }) => severity === 'error' && isStaged);
  return told({ before: world, after: after ?? world, options: judged.options }, isInvalid, options.output);
}

export const policyDiff = command(
  'diff',
  'Say which connections would open and which would close, and because of what',
  parser =>
    parser
      .options({
        ...fileOption,
        staged: {
          type: 'boolean',
          describe: 'Say what promoting the staged policies would change, of the files or of this node',
        },
        base: {
          ...fileOption.file,
          alias: [],
          describe: 'What to compare with, in the same form; default: the pods and policies of this node',
        },
        whole: {
          type: 'boolean',
          describe: 'The new manifests replace all policies, rather than those of the same name',
          defaultDescription: 'true with --base, else false',
        },
        ...outputOption,
        ...liveOptions,
      })
      .example('$0 policy diff -f new.yaml', 'what this file would change on this node if it were applied')
      .example('$0 policy diff -f policies/ --whole', 'and if the folder were to hold nothing else')
      .example('$0 policy diff -f new/ --base old/ -o json', 'two folders with each other, in a pipeline')
      .example('$0 policy diff --staged', 'what the staged policies would change if they were in force')
      .epilog(
        'Every port, both address families, every pod with every other and with all addresses outside are compared. Where the new manifests declare no Pod, Namespace or Node, those of the base count. "Outside" are addresses that no pod and no node has. Exit code 0: nothing changes; 1: something does, or a new manifest (with --staged, a staged policy) is invalid.',
      ),
  async options => {
    if (options.staged) return await diffStaged(options);
    if (!options.file) throw new UsageError('Cannot compare: name the new manifests with -f, or write --staged');
    if (options.base?.includes(STDIN) && options.file.includes(STDIN))
      throw new UsageError('Cannot read both sides from stdin: give -f or --base a file');
    const { documents, problems } = readFiles(options.file);
    const { declared, problems: more } = readDocuments(documents);
    refuseUnreadable([...problems, ...more]);
    const isInvalid = warnOfErrors({ problems: [...more, ...worldOf(declared).problems] });
    return told(await sidesOf(options, declared), isInvalid, options.output);
  },
);
