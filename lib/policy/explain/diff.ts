/**
 * Which connections one set of policies allows and another does not: every pod with every other, with all addresses outside
 * and with nodes, in both families, on every port; exact, since one flow of each class that policies can tell apart is judged.
 */
import type { Family } from '../../ip/address.ts';
import { unionOfRanges, unionOfSpans } from '../compile/ranges.ts';
import type { PortSpan } from '../compile/ruleset.ts';
import { clusterOf } from '../evaluate/cluster.ts';
import { type EvaluateOptions, evaluate } from '../evaluate/evaluate.ts';
import { sharedFamilies } from '../evaluate/matrix.ts';
import type { Direction, DirectionVerdict, Flow, RuleRef, Verdict, World } from '../model/model.ts';
import { AddressClasses, type PortClass, portClasses, rangeText } from './classes.ts';
import { alive, type End, type Group, groupsOf, type Sides } from './groups.ts';

/** What made the difference in one direction. */
export interface Because {
  readonly direction: Direction;
  /** `Kind/namespace/name`, or `Kind/name` */
  readonly policy: string;
  /** In the present tense by the new policies, in the past by the old ones, and no longer. */
  readonly effect: 'allows' | 'isolates' | 'accepts' | 'denies' | 'allowed' | 'isolated' | 'accepted' | 'denied';
  /** Its rule's place in the list, where a rule made the difference. */
  readonly rule?: number;
}

export interface Change {
  readonly change: 'opens' | 'closes';
  /** `namespace/pod`, `node NAME`, `node`, or addresses that are neither pods' nor nodes'. Each to each, but nobody to itself. */
  readonly from: readonly string[];
  readonly to: readonly string[];
  /** null: judged by labels, for want of addresses. */
  readonly families: readonly (Family | null)[];
  readonly traffic: readonly { readonly protocol: Flow['protocol']; readonly ports: readonly PortSpan[] }[];
  /** Empty where it is not policies that changed, but the pods themselves. */
  readonly because: readonly Because[];
  /** One sentence for a person. */
  readonly why: string;
}

export interface PolicyDiff {
  readonly changes: readonly Change[];
  /** `namespace/pod` of pods that only one of the worlds has: nothing is said of their connections. */
  readonly onlyBefore: readonly string[];
  readonly onlyAfter: readonly string[];
}

/** What flipped in one direction, by whom. */
function becauseOf(direction: Direction, before: Verdict, after: Verdict): readonly Because[] {
  const [old, now] = [before[direction], after[direction]];
  if (old.allowed === now.allowed) return [];
  const byRules = (rules: readonly RuleRef[], effect: Because['effect']): Because[] =>
    rules.map(({ policy, index }) => ({ direction, policy, effect, rule: index }));
  const byPolicies = (policies: readonly string[], effect: Because['effect']): Because[] =>
    policies.map(policy => ({ direction, policy, effect }));
  const lost = (): readonly Because[] => {
    if (isOrdered(old)) return byRules(old.rules, old.allowed ? 'accepted' : 'denied');
    if (!old.isolated) return [];
    return old.allowed ? byRules(old.rules, 'allowed') : byPolicies(old.by, 'isolated');
  };
  const gained = (): readonly Because[] => {
    if (isOrdered(now)) return byRules(now.rules, now.allowed ? 'accepts' : 'denies');
    if (!now.isolated) return [];
    return now.allowed ? byRules(now.rules, 'allows') : byPolicies(now.by, 'isolates');
  };
  // Where NetworkPolicies alone decide, who allows or isolates says all; a cluster policy may also have made way for another.
  if (isOrdered(old) || isOrdered(now)) return [...lost(), ...gained()];
  if (now.allowed) return now.isolated ? gained() : lost();
  return old.isolated ? lost() : gained();
}

/** A cluster policy decided. */
const isOrdered = ({ tier }: DirectionVerdict): boolean => tier === 'Admin' || tier === 'Baseline';

const effectTexts: Readonly<Record<Exclude<Because['effect'], 'isolates' | 'isolated'>, string>> = {
  allows: 'allows it',
  accepts: 'accepts it',
  denies: 'denies it',
  allowed: 'no longer allows it',
  accepted: 'no longer accepts it',
  denied: 'no longer denies it',
};

function becauseText({ direction, policy, effect, rule }: Because): string {
  const what = rule === undefined ? policy : `${policy} ${direction}[${rule}]`;
  if (effect === 'isolated') return `${what} no longer isolates for ${direction}`;
  if (effect === 'isolates') return `${what} isolates for ${direction}, and no rule allows it`;
  return `${what} ${effectTexts[effect]}`;
}

const whyOf = (because: readonly Because[]): string =>
  because.length === 0 ? 'the pods themselves have changed' : because.map(becauseText).join('; ');

/** A change between two groups, before it is merged with its like. */
interface Found {
  readonly change: Change['change'];
  readonly because: readonly Because[];
  readonly from: readonly End[];
  readonly to: readonly End[];
  readonly families: readonly (Family | null)[];
  readonly traffic: Change['traffic'];
}

function flippedBy(
  sides: Sides,
  from: End,
  to: End,
  family: Family | null,
  ports: PortClass,
): Pick<Found, 'change' | 'because'> | undefined {
  const traffic = { family, protocol: ports.protocol, port: ports.first };
  const old = evaluate(sides.clusters[0], { from: from.before, to: to.before, ...traffic }, sides.options);
  const now = evaluate(sides.clusters[1], { from: from.after, to: to.after, ...traffic }, sides.options);
  if (old.allowed === now.allowed) return undefined;
  const because = (['egress', 'ingress'] as const).flatMap(direction => becauseOf(direction, old, now));
  return { change: now.allowed ? 'opens' : 'closes', because };
}

/** Like changes of several classes as one, with the spans of their ports. */
function changesBetween(
  sides: Sides,
  [from, to]: readonly [Group, Group],
  family: Family | null,
  ports: readonly PortClass[],
): readonly Found[] {
  const [a, b] = [from.ends[0]!, from === to ? to.ends[1]! : to.ends[0]!];
  const byCause = new Map<string, { readonly flip: Pick<Found, 'change' | 'because'>; readonly ports: PortClass[] }>();
  for (const each of ports) {
    const flip = flippedBy(sides, a, b, family, each);
    if (!flip) continue;
    const key = JSON.stringify(flip);
    const found = byCause.get(key) ?? { flip, ports: [] };
    found.ports.push(each);
    byCause.set(key, found);
  }
  return [...byCause.values()].map(({ flip, ports: classes }) => ({
    ...flip,
    from: from.ends,
    to: to.ends,
    families: [family],
    traffic: [...Map.groupBy(classes, ({ protocol }) => protocol)].map(([protocol, spans]) => ({
      protocol,
      ports: unionOfSpans(spans.map(({ first, last }) => ({ first, last }))),
    })),
  }));
}

/** Found changes that differ in one list alone, as one. */
function merged(found: readonly Found[], list: 'from' | 'to' | 'families'): readonly Found[] {
  const keyOf = (each: Found) => {
    const { [list]: _, ...rest } = {
      ...each,
      from: each.from.map(({ name }) => name),
      to: each.to.map(({ name }) => name),
    };
    return JSON.stringify(rest);
  };
  return [...Map.groupBy(found, keyOf).values()].map(same => ({
    ...same[0]!,
    [list]: [...new Set(same.flatMap(each => each[list] as readonly unknown[]))],
  }));
}

function endNames(ends: readonly End[]): readonly string[] {
  const ranges = ends.flatMap(({ outside }) => (outside ? [outside] : []));
  const outside = ([4, 6] as const).flatMap(family =>
    unionOfRanges(
      ranges.filter(range => range.family === family),
      family,
    ).map(rangeText),
  );
  return [
    ...ends
      .filter(end => !end.outside)
      .map(({ name }) => name)
      .sort(),
    ...outside,
  ];
}

const inOrder = (a: Change, b: Change): number => {
  const [x, y] = [a, b].map(({ change, from, to }) => `${change === 'opens' ? 0 : 1} ${from.join()} ${to.join()}`);
  return x! < y! ? -1 : x! > y! ? 1 : 0;
};

/** Families in which both worlds have both ends; of a node without known addresses, those of the other end. */
function familiesOf(from: End, to: End): readonly (Family | null)[] {
  const later = sharedFamilies(from.after, to.after);
  return sharedFamilies(from.before, to.before).filter(family => later.includes(family));
}

function isWorthAsking(from: Group, to: Group): boolean {
  const kinds = [from, to].map(({ ends }) => ends[0]!.before.kind);
  if (!kinds.includes('pod') || (from === to && from.ends.length < 2)) return false;
  return !(from.isSame && to.isSame && from.isSameIn.egress && to.isSameIn.ingress);
}

/** What changes for connections if the world becomes `after`. */
export function diff(before: World, after: World, options: EvaluateOptions = {}): PolicyDiff {
  const classes = new AddressClasses([before, after]);
  const sides: Sides = { before, after, clusters: [clusterOf(before), clusterOf(after)], classes, options };
  const ports = portClasses([before, after]);
  const groups = groupsOf(sides);
  const found = groups.flatMap(from =>
    groups.flatMap(to => {
      if (!isWorthAsking(from, to)) return [];
      const families = familiesOf(from.ends[0]!, to.ends[0]!);
      return families.flatMap(family => changesBetween(sides, [from, to], family, ports));
    }),
  );
  const changes = merged(merged(merged(found, 'families'), 'from'), 'to');
  const [old, now] = [alive(before), alive(after)];
  return {
    changes: changes
      .map(({ from, to, because, ...rest }) => ({
        ...rest,
        from: endNames(from),
        to: endNames(to),
        because,
        why: whyOf(because),
      }))
      .sort(inOrder),
    onlyBefore: [...old.keys()].filter(name => !now.has(name)),
    onlyAfter: [...now.keys()].filter(name => !old.has(name)),
  };
}
