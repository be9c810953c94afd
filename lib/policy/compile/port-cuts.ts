/**
 * Ports cut by rules that cannot be looked up pod by pod. A rule for all pods, for a block or for a long range of ports would
 * stand between others and part what is looked up at once. Where the ports that such rules name are few ranges, packets to each
 * of these have a chain of their own, in which the rule is one for every port; on all other ports it is not there at all.
 */
import type { Family } from '../../ip/address.ts';
import { type Protocol, protocols } from '../model/model.ts';
import type { OrderedDraft } from './decided.ts';
import { unionOfSpans } from './ranges.ts';
import type { PortMatch, PortSpan } from './ruleset.ts';

/** The number of chains worth their rules: each asks a packet for its port once more, and repeats the rules for every port. */
const MOST = 8;

/** A packet to one of these ports, and the drafts that may match it. */
export interface PortCut {
  readonly ports: PortMatch;
  readonly drafts: readonly OrderedDraft[];
}

export interface CutDrafts {
  readonly cuts: readonly PortCut[];
  /** Drafts for all other ports. */
  readonly rest: readonly OrderedDraft[];
}

const spansOf = ({ ports }: OrderedDraft, protocol: Protocol): readonly PortSpan[] =>
  ports.kind === 'numbers' && ports.protocol === protocol ? ports.spans : [];

const covers = (draft: OrderedDraft, protocol: Protocol, port: number): boolean =>
  spansOf(draft, protocol).some(({ first, last }) => first <= port && port <= last);

/** Ports at which the drafts that match may change, ascending. */
const boundsOf = (drafts: readonly OrderedDraft[], protocol: Protocol): readonly number[] =>
  [...new Set(drafts.flatMap(draft => spansOf(draft, protocol)).flatMap(({ first, last }) => [first, last + 1]))].sort(
    (a, b) => a - b,
  );

/** Ports that the same of these drafts are for, each time with other drafts. */
function partition(drafts: readonly OrderedDraft[], protocol: Protocol): readonly PortMatch[] {
  const byDrafts = new Map<string, PortSpan[]>();
  const bounds = boundsOf(drafts, protocol);
  for (const [i, first] of bounds.slice(0, -1).entries()) {
    const key = drafts.flatMap((draft, n) => (covers(draft, protocol, first) ? [n] : [])).join();
    const spans = byDrafts.get(key) ?? [];
    spans.push({ first, last: bounds[i + 1]! - 1 });
    byDrafts.set(key, spans);
  }
  byDrafts.delete('');
  return [...byDrafts.values()].map(spans => ({ protocol, spans: unionOfSpans(spans) }));
}

/** The draft as packets to these ports meet it; undefined where it matches none of them. */
function within(draft: OrderedDraft, { protocol, spans }: PortMatch, isCutting: boolean): OrderedDraft | undefined {
  if (draft.ports.kind !== 'numbers') return draft;
  if (isCutting) return covers(draft, protocol, spans[0]!.first) ? { ...draft, ports: { kind: 'any' } } : undefined;
  const meets = spansOf(draft, protocol).some(own => spans.some(cut => own.first <= cut.last && cut.first <= own.last));
  return meets ? draft : undefined;
}

/**
 * @param isLookedUp whether a draft can be looked up pod by pod
 * @returns undefined where no rule cuts ports, or too many do
 */
export function cutByPorts(
  drafts: readonly OrderedDraft[],
  isLookedUp: (draft: OrderedDraft) => boolean,
): CutDrafts | undefined {
  const cutting = new Set(drafts.filter(draft => draft.ports.kind === 'numbers' && !isLookedUp(draft)));
  const isTooMuch = protocols.some(protocol => boundsOf([...cutting], protocol).length > 4 * MOST);
  if (isTooMuch) return undefined;
  const matches = protocols.flatMap(protocol => partition([...cutting], protocol));
  if (matches.length === 0 || matches.length > MOST) return undefined;
  const cuts = matches.map(ports => ({
    ports,
    drafts: drafts.flatMap(draft => within(draft, ports, cutting.has(draft)) ?? []),
  }));
  return { cuts, rest: drafts.filter(draft => !cutting.has(draft)) };
}

const isEveryPod = ({ peers }: OrderedDraft): boolean =>
  peers.kind === 'pods' &&
  peers.pods.some(({ namespace, pods }) => {
    return typeof namespace !== 'string' && namespace.requirements.length + pods.requirements.length === 0;
  });

/** Without those that come after a draft that decides all that they match. */
export function reachable(drafts: readonly OrderedDraft[]): readonly OrderedDraft[] {
  const kept: OrderedDraft[] = [];
  const decided = new Set<Family>();
  for (const draft of drafts) {
    const { peers, ports } = draft;
    if (peers.kind === 'pods' && decided.has(peers.family)) continue;
    kept.push(draft);
    if (ports.kind !== 'any') continue;
    if (peers.kind === 'any') break;
    if (peers.kind === 'pods' && isEveryPod(draft)) decided.add(peers.family);
  }
  return kept;
}
