import type { StagedFlows } from '../../flows/counts.ts';
import { parseDenial } from '../../gate/denial.ts';
import { policyCounter } from '../../gate/ruleset-to-nft.ts';
import type { Counted } from '../../nft/decode.ts';
import { denierOf, type Ruleset } from '../../policy/compile/ruleset.ts';
import { clusterOf, isSeen } from '../../policy/evaluate/cluster.ts';
import { subjectsOf } from '../../policy/evaluate/subjects.ts';
import { inOrder, placeText } from '../../policy/model/cluster-policy.ts';
import { type AnyPolicy, type Direction, policyRef, sourceText, type World } from '../../policy/model/model.ts';
import { grid } from '../columns.ts';
import { command, exit, outputOption, print, printJson, warn } from '../command.ts';
import { countedJson, type KernelCounts, readCounts } from '../kernel-counts.ts';
import { type LiveArguments, liveOptions } from '../live-node.ts';
import { liveWorld, warnOfErrors } from './judged.ts';
import { fileOption, worldIn } from './manifests.ts';
import { askStagedFlows } from './staged-flows.ts';

/** The kernel's counts of one policy in one direction: packets that began a connection, since replies pass before. */
interface Count {
  readonly rules: number;
  /** Absent where its rules were merged with other policies', or are not in force. */
  readonly allowed?: Counted;
  /** Packets denied by this policy and others that isolate the same pods. */
  readonly denied?: Counted;
}

interface Listed {
  readonly policy: AnyPolicy;
  /** `namespace/pod` */
  readonly selects: readonly string[];
  readonly ingress?: Count;
  readonly egress?: Count;
  readonly isRefused: boolean;
  /** It, or all of its namespace, is larger than policies may be. */
  readonly isBeyondBudget: boolean;
  readonly isStaged: boolean;
  /** Connections that would fare otherwise if it were in force; undefined of one that is, and where nothing counts them. */
  readonly besides: StagedFlows | undefined;
}

const sum = (counts: readonly Counted[]): Counted => ({
  packets: counts.reduce((total, { packets }) => total + packets, 0n),
  bytes: counts.reduce((total, { bytes }) => total + bytes, 0n),
});

type CountOf = (policy: AnyPolicy, direction: Direction) => Omit<Count, 'rules'>;

/** Counts of each policy where it is in force here. */
function countsOf({ chains }: Ruleset, { counters, drops }: KernelCounts): CountOf {
  const denials = [...drops].flatMap(([name, counted]) => {
    const denier = denierOf(chains, parseDenial(name));
    return denier ? [{ ...denier, counted }] : [];
  });
  return (policy, direction) => {
    const ref = policyRef(policy);
    const allowed = counters.get(policyCounter(direction, ref));
    const denied = denials.filter(each => each.direction === direction && each.policies.includes(ref));
    return {
      ...(allowed ? { allowed } : {}),
      ...(denied.length > 0 ? { denied: sum(denied.map(({ counted }) => counted)) } : {}),
    };
  };
}

interface Counting {
  readonly counted: CountOf;
  readonly besides: (policy: string) => StagedFlows | undefined;
}

/** Cluster policies first, in the order in which they are asked. */
function inListOrder(a: AnyPolicy, b: AnyPolicy): number {
  const [x, y] = [a, b].map(policy => ('tier' in policy ? (policy.tier === 'Admin' ? 0 : 2) : 1));
  if (x !== y) return x! - y!;
  return 'tier' in a && 'tier' in b ? inOrder(a, b) : policyRef(a) < policyRef(b) ? -1 : 1;
}

function listed(
  world: World,
  { counted, besides }: Counting,
  refused: ReadonlySet<string> = new Set(),
): readonly Listed[] {
  const cluster = clusterOf(world);
  const pods = world.pods.filter(isSeen);
  const beyond = new Set([...cluster.policiesBeyondBudget()].map(policyRef));
  const { clusterPolicies = [], staged = { policies: [], clusterPolicies: [] } } = world;
  const one = (policy: AnyPolicy, isStaged: boolean): Listed => {
    const count = (direction: Direction): { readonly [key in Direction]?: Count } => {
      const rules = policy[direction];
      if (!rules || ('tier' in policy && rules.length === 0)) return {};
      return { [direction]: { rules: rules.length, ...(isStaged ? {} : counted(policy, direction)) } };
    };
    const ref = policyRef(policy);
    return {
      ...{ policy, ...count('ingress'), ...count('egress') },
      selects: subjectsOf(policy, cluster, pods).map(({ namespace, name }) => `${namespace}/${name}`),
      isRefused: !isStaged && refused.has(ref),
      isBeyondBudget: isStaged ? policy.isBeyondBudget === true : beyond.has(ref),
      isStaged,
      besides: isStaged ? besides(ref) : undefined,
    };
  };
  return [
    ...[...world.policies, ...clusterPolicies].sort(inListOrder).map(policy => one(policy, false)),
    ...[...staged.policies, ...staged.clusterPolicies].sort(inListOrder).map(policy => one(policy, true)),
  ];
}

const countedOrNull = (counted: Counted | undefined) => (counted ? countedJson(counted) : null);

const countJson = (count: Count | undefined) =>
  count ? { rules: count.rules, allowed: countedOrNull(count.allowed), denied: countedOrNull(count.denied) } : null;

/** An object of the API is in no file. */
const fileOf = ({ source }: AnyPolicy) => (source?.resourceVersion === undefined ? source : undefined);

/** A contract with scripts: keys are only ever added. */
const jsonOf = ({ policy, selects: pods, ingress, egress, isRefused, isBeyondBudget, isStaged, besides }: Listed) => ({
  policy: policyRef(policy),
  file: fileOf(policy)?.file ?? null,
  document: fileOf(policy) ? fileOf(policy)!.document + 1 : null,
  selects: pods,
  ingress: countJson(ingress),
  egress: countJson(egress),
  refused: isRefused,
  resourceVersion: policy.source?.resourceVersion ?? null,
  beyondBudget: isBeyondBudget,
  tier: 'tier' in policy ? policy.tier : 'NetworkPolicy',
  priority: 'tier' in policy ? policy.priority : null,
  staged: isStaged,
  wouldDeny: besides?.wouldDeny ?? null,
  wouldAllow: besides?.wouldAllow ?? null,
});

const packets = (counted: Counted | undefined): string => (counted ? String(counted.packets) : '-');

/** `2 rules, 17 allowed, 3 denied`; nothing where the policy does not isolate. */
function countText(count: Count | undefined): string {
  if (!count) return '-';
  const rules = `${count.rules} ${count.rules === 1 ? 'rule' : 'rules'}`;
  if (!count.allowed && !count.denied) return rules;
  return `${rules}, ${packets(count.allowed)} allowed, ${packets(count.denied)} denied`;
}

function podsText(pods: readonly string[]): string {
  const own = pods.map(name => name.slice(name.indexOf('/') + 1));
  return own.length <= 3 ? own.join(', ') || 'none' : `${own.slice(0, 2).join(', ')} and ${own.length - 2} more`;
}

type Flags = Pick<Listed, 'isRefused' | 'isBeyondBudget' | 'isStaged'>;

function noteOf({ isRefused, isBeyondBudget, isStaged }: Flags): string {
  if (isStaged) return ' (staged: judged, not enforced)';
  if (isBeyondBudget) return ' (too large: its pods are closed)';
  return isRefused ? ' (refused by the kernel: its pods are closed)' : '';
}

/** `Admin 10`, `Baseline last`; nothing of NetworkPolicies. */
const tierText = (policy: Listed['policy']): string =>
  'tier' in policy ? `${policy.tier} ${placeText(policy.priority)}` : '-';

/** `deny 17, allow 0` */
const besidesText = ({ besides }: Listed): string =>
  besides ? `deny ${besides.wouldDeny}, allow ${besides.wouldAllow}` : '-';

/** The column of staged policies stands there where something is known of them. */
function tableOf(found: readonly Listed[]): string {
  const isStaged = found.some(({ besides }) => besides);
  const rowOf = (each: Listed): string[] => [
    `${policyRef(each.policy)}${noteOf(each)}`,
    podsText(each.selects),
    countText(each.ingress),
    countText(each.egress),
    ...(isStaged ? [besidesText(each)] : []),
    tierText(each.policy),
    each.policy.source ? sourceText(each.policy.source) : '-',
  ];
  const head = ['POLICY', 'PODS', 'INGRESS', 'EGRESS', ...(isStaged ? ['WOULD'] : []), 'TIER', 'FROM'];
  return grid(head, found.map(rowOf));
}

/** What is in force on this node, with what the kernel counted of it; and what is staged, with what the agent counted. */
async function listedHere(options: LiveArguments): Promise<readonly Listed[]> {
  const live = await liveWorld(options);
  warnOfErrors(live);
  const kernel = readCounts();
  const { of: besides, notes } = live.world.staged
    ? await askStagedFlows(options.runDir)
    : { of: () => undefined, notes: [] };
  for (const note of notes) warn(note);
  const counted = countsOf(live.ruleset, kernel);
  return listed(live.world, { counted, besides }, new Set(live.state.refused));
}

function listedIn(files: readonly string[]): readonly Listed[] {
  const judged = worldIn(files);
  warnOfErrors(judged);
  return listed(judged.world, { counted: () => ({}), besides: () => undefined });
}

export const policyList = command(
  'list',
  'List policies, the pods that they select, and what they allowed and denied',
  parser =>
    parser
      .options({ ...fileOption, ...outputOption, ...liveOptions })
      .example('$0 policy list', 'what is in force on this node, with its counters')
      .example('$0 policy list -f policies/', 'what manifests declare')
      .example('$0 policy list -o json', 'for scripts: a list, its keys are only ever added to')
      .epilog(
        'Packets are counted that begin something: replies and what follows in a connection pass before the policies are asked. What several policies isolate together, they deny together, and it counts for each of them. A dash instead of a number: the rules were merged with those of other policies, or nothing of them is in force here. Of staged policies the agent counts, with --flows, which new connections they would deny or allow if all of them were in force.',
      ),
  async options => {
    const found = options.file ? listedIn(options.file) : await listedHere(options);
    if (options.output === 'json') printJson(found.map(jsonOf));
    else if (found.length === 0) print('There are no policies.');
    else print(tableOf(found));
    return exit.yes;
  },
);
