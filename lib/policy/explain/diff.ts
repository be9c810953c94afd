/**
 * Finds the connections that one set of policies allows and another does not: of every pod with every other, with all
 * addresses outside and with nodes, in both families, on every port; exact, since one flow of each class that policies can
 * tell apart is judged.
 */
import type { Family } from '../../ip/address.ts';
import { unionOfRanges, unionOfSpans } from '../compile/ranges.ts';
import type { PortSpan } from '../compile/ruleset.ts';
import { clusterOf } from '../evaluate/cluster.ts';
import type { EvaluateOptions } from '../evaluate/evaluate.ts';
import { familiesAt, sharedFamilies } from '../evaluate/matrix.ts';
import type { Direction, Endpoint, Flow, RuleRef, World } from '../model/model.ts';
import { AddressClasses, type PortClass, portClasses, rangeText } from './classes.ts';
import { Distinctions } from './distinctions.ts';
import { alive, type End, type Group, groupsOf, type Sides } from './groups.ts';
import { type BareVerdict, PairJudge, type Ruling } from './pair-judge.ts';

/** A policy, or one of its rules, that made the difference in one direction. */
export interface Because {
  readonly direction: Direction;
  /** `Kind/namespace/name`, or `Kind/name` */
  readonly policy: string;
  /** Present tense: by the new policies; past tense: by the old policies, and by the new ones no longer. */
  readonly effect: 'allows' | 'isolates' | 'accepts' | 'denies' | 'allowed' | 'isolated' | 'accepted' | 'denied';
  /** The index of the rule that made the difference; absent where no single rule did. */
  readonly rule?: number;
}

export interface Change {
  readonly change: 'opens' | 'closes';
  /** `namespace/pod`, `node NAME`, `node`, or addresses that are neither pods' nor nodes'. Each to each, but none to itself. */
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

/** The policies that made the verdict flip in one direction; none where it did not flip. */
function becauseOf(direction: Direction, old: BareVerdict, now: BareVerdict): readonly Because[] {
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
const isOrdered = ({ tier }: BareVerdict): boolean => tier === 'Admin' || tier === 'Baseline';

const effectTexts: Readonly<Record<Exclude<Because['effect'], 'isolates' | 'isolated'>, string>> = {
  allows: 'allows it',
  accepts: 'accepts it',
  denies: 'denies it',
  allowed: 'no longer allows it',
  accepted: 'no longer accepts it',
  denied: 'no longer denies it',
};

function becauseText({ direction, policy, effect, rule }: Because, _: number, all: readonly Because[]): string {
  const what = rule === undefined ? policy : `${policy} ${direction}[${rule}]`;
  // It may well isolate as before, where a cluster policy decides in its place.
  const isElsewhere = all.some(each => each.direction === direction && each.effect === 'accepts');
  if (effect === 'isolated')
    return isElsewhere ? `${what} no longer decides it` : `${what} no longer isolates for ${direction}`;
  if (effect === 'isolates') return `${what} isolates for ${direction}, and no rule allows it`;
  return `${what} ${effectTexts[effect]}`;
}

const whyOf = (because: readonly Because[]): string =>
  because.length === 0 ? 'the pods themselves have changed' : because.map(becauseText).join('; ');

/** A change and its ports, without the ends. */
type Flip = Pick<Change, 'change' | 'because' | 'traffic'>;

/** A change between groups, before it is merged with its like. */
interface Found extends Flip {
  readonly from: readonly End[];
  readonly to: readonly End[];
  readonly families: readonly (Family | null)[];
}

/** The two worlds' rulings on one pair in one family, for each direction. */
type Rulings = readonly [before: Readonly<Record<Direction, Ruling>>, after: Readonly<Record<Direction, Ruling>>];

const directions = ['egress', 'ingress'] as const;

function flipOn([before, after]: Rulings, ports: PortClass): Pick<Flip, 'change' | 'because'> | undefined {
  const [old, now] = [before, after].map(each => directions.map(direction => each[direction].on(ports)));
  const allows = (verdicts: readonly BareVerdict[]): boolean => verdicts.every(({ allowed }) => allowed);
  if (allows(old!) === allows(now!)) return undefined;
  const because = directions.flatMap((direction, i) => becauseOf(direction, old![i]!, now![i]!));
  return { change: allows(now!) ? 'opens' : 'closes', because };
}

/** Like changes of several classes of ports as one, with the spans of these. */
function flipsOf(rulings: Rulings, ports: readonly PortClass[]): readonly Flip[] {
  const flips = ports.flatMap(each => {
    const flip = flipOn(rulings, each);
    return flip ? [{ flip, ports: each }] : [];
  });
  return [...Map.groupBy(flips, ({ flip }) => JSON.stringify(flip)).values()].map(same => ({
    ...same[0]!.flip,
    traffic: [...Map.groupBy(same, ({ ports: { protocol } }) => protocol)].map(([protocol, spans]) => ({
      protocol,
      ports: unionOfSpans(spans.map(({ ports: { first, last } }) => ({ first, last }))),
    })),
  }));
}

/** Families in which both worlds have both ends; of a node without known addresses, those of the other end. */
function familiesOf(from: End, to: End): readonly (Family | null)[] {
  const later = sharedFamilies(from.after, to.after);
  return sharedFamilies(from.before, to.before).filter(family => later.includes(family));
}

/** Flips of pairs, worked out once for all pairs of which both worlds say the same. */
class Flips {
  readonly #judges: readonly [PairJudge, PairJudge];
  readonly #ports: readonly PortClass[];
  readonly #byRulings = new Map<string, readonly Flip[]>();
  /** Equal ones are one. */
  readonly #known = new Map<string, Flip>();
  readonly #families = new Map<string, readonly (Family | null)[]>();
  readonly #sorts = new Map<Endpoint, string>();

  constructor({ clusters, options }: Sides, ports: readonly PortClass[]) {
    this.#judges = [new PairJudge(clusters[0], options), new PairJudge(clusters[1], options)];
    this.#ports = ports;
  }

  between(from: End, to: End, family: Family | null): readonly Flip[] {
    const before = this.#judges[0].between(from.before, to.before, family);
    const after = this.#judges[1].between(from.after, to.after, family);
    const key = [before, after].flatMap(({ egress, ingress }) => [egress.id, ingress.id]).join();
    const flips = this.#byRulings.get(key) ?? flipsOf([before, after], this.#ports).map(flip => this.#one(flip));
    this.#byRulings.set(key, flips);
    return flips;
  }

  /** Worked out once for all pairs whose ends have addresses of the same families. */
  families(from: End, to: End): readonly (Family | null)[] {
    const key = [from.before, to.before, from.after, to.after].map(end => this.#sortOf(end)).join();
    const families = this.#families.get(key) ?? familiesOf(from, to);
    this.#families.set(key, families);
    return families;
  }

  #sortOf(end: Endpoint): string {
    const sort = this.#sorts.get(end) ?? JSON.stringify([end.kind, familiesAt(end)]);
    this.#sorts.set(end, sort);
    return sort;
  }

  #one(flip: Flip): Flip {
    const text = JSON.stringify(flip);
    const known = this.#known.get(text) ?? flip;
    this.#known.set(text, known);
    return known;
  }
}

/** All changes of connections to one group. */
function changesTo(to: Group, froms: readonly Group[], flips: Flips): readonly Found[] {
  const found = new Map<Flip, Map<string, { readonly families: (Family | null)[]; readonly from: End[] }>>();
  for (const from of froms) {
    if (!isWorthAsking(from, to)) continue;
    const [a, b] = [from.ends[0]!, from === to ? to.ends[1]! : to.ends[0]!];
    const families = flips
      .families(a, b)
      .flatMap(family => flips.between(a, b, family).map(flip => ({ flip, family })));
    for (const [flip, same] of Map.groupBy(families, each => each.flip)) {
      const own = same.map(({ family }) => family);
      const byFamilies = found.get(flip) ?? new Map<string, { families: (Family | null)[]; from: End[] }>();
      found.set(flip, byFamilies);
      const entry = byFamilies.get(own.join()) ?? { families: own, from: [] };
      byFamilies.set(own.join(), entry);
      entry.from.push(...from.ends);
    }
  }
  return [...found].flatMap(([flip, byFamilies]) =>
    [...byFamilies.values()].map(each => ({ ...flip, ...each, to: to.ends })),
  );
}

/** Changes of one key are one. */
const mergedBy = (found: readonly Found[], keyOf: (each: Found) => unknown): readonly Found[] =>
  [...Map.groupBy(found, each => JSON.stringify(keyOf(each))).values()].map(same => ({
    ...same[0]!,
    from: [...new Set(same.flatMap(({ from }) => from))],
    to: same.flatMap(({ to }) => to),
  }));

const namesOf = (ends: readonly End[]): readonly string[] => [...new Set(ends.map(({ name }) => name))].sort();

/**
 * Merges changes to several groups where they are from the same ends. No change is from an end to itself, so an end that is
 * alone in its group may be added to those that reach it.
 */
function merged(found: readonly Found[]): readonly Found[] {
  const same = mergedBy(found, ({ from, to: _, ...rest }) => [rest, namesOf(from)]);
  return mergedBy(same, ({ from, to, ...rest }) => [rest, namesOf(to.length === 1 ? [...from, ...to] : from)]);
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

function isWorthAsking(from: Group, to: Group): boolean {
  if (from === to && from.ends.length < 2) return false;
  return !(from.isSame && to.isSame && from.isSameIn.egress && to.isSameIn.ingress);
}

const isOfPods = ({ ends }: Group): boolean => ends[0]!.before.kind === 'pod';

/** The changes for connections if the world becomes `after`. */
export function diff(before: World, after: World, options: EvaluateOptions = {}): PolicyDiff {
  const classes = new AddressClasses([before, after]);
  const distinctions = new Distinctions([before, after]);
  const clusters = [clusterOf(before), clusterOf(after)] as const;
  const sides: Sides = { before, after, clusters, classes, distinctions, options };
  const ports = portClasses([before, after]);
  const groups = groupsOf(sides);
  const pods = groups.filter(isOfPods);
  const flips = new Flips(sides, ports);
  const changes = merged(groups.flatMap(to => changesTo(to, isOfPods(to) ? groups : pods, flips)));
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
