/** ipBlocks that mean more, or other things, than they seem to. */
import {
  type Address,
  formatPrefix,
  type Prefix,
  parseAddress,
  prefixContains,
  type Range,
  rangeOf,
} from '../ip/address.ts';
import { rangeText } from './classes.ts';
import {
  type BlockPeer,
  type Direction,
  formatRule,
  isNumbered,
  type NetworkPolicy,
  type Pod,
  type Port,
  policyRef,
  type Rule,
} from './model.ts';
import { rangesOfBlocks } from './ranges.ts';
import { selectorText, selects } from './selector.ts';
import { type Case, type Check, isBlock, namesText, type PlacedPeer, peersOf, rulesOf } from './unmeant.ts';

const isWithin = ({ cidr, except }: BlockPeer, address: Address): boolean =>
  prefixContains(cidr, address) && !except.some(hole => prefixContains(hole, address));

const isCovered = (block: BlockPeer, { addresses }: Pod): boolean =>
  addresses.some(text => {
    const address = parseAddress(text);
    return address !== undefined && isWithin(block, address);
  });

export const coversPods: Check = ({ policy, pods, report }) => {
  for (const { peer, field, direction } of peersOf(policy).filter(isBlock)) {
    const covered = pods.filter(pod => isCovered(peer, pod));
    if (covered.length === 0) continue;
    const whose = direction === 'ingress' ? 'from' : 'to';
    report(
      `${field}.ipBlock.cidr`,
      `${formatPrefix(peer.cidr)} covers pods (${namesText(covered)}), so connections ${whose} them are allowed too: except the pods' range, or select pods by their labels`,
    );
  }
};

/** Whether both may select one pod: one that is known, or else because one asks for no more than the other. */
export function mayShare({ pods }: Pick<Case, 'pods'>, a: NetworkPolicy, b: NetworkPolicy): boolean {
  if (a.namespace !== b.namespace) return false;
  const own = pods.filter(({ namespace }) => namespace === a.namespace);
  if (own.some(({ labels }) => selects(a.subject, labels) && selects(b.subject, labels))) return true;
  const [x, y] = [selectorText(a.subject), selectorText(b.subject)];
  return x === y || (own.length === 0 && (x === '' || y === ''));
}

function overlaps(a: Port, b: Port): boolean {
  if (a.protocol !== b.protocol) return false;
  if (isNumbered(a) && isNumbered(b)) return a.first <= b.last && b.first <= a.last;
  return !isNumbered(a) && !isNumbered(b) && a.name === b.name;
}

const sharesPorts = (a: Rule['ports'], b: Rule['ports']): boolean =>
  (a === 'any' && b.length !== 0) ||
  (b === 'any' && a.length !== 0) ||
  (a !== 'any' && b !== 'any' && a.some(x => b.some(y => overlaps(x, y))));

/** What of the hole a rule allows by other means; undefined where nothing. */
function reopened(hole: Prefix, { peers }: Rule, own: BlockPeer): Range | undefined {
  const whole = rangeOf(hole);
  if (peers === 'any') return whole;
  const blocks = peers.filter((peer): peer is BlockPeer => peer.kind === 'block' && peer !== own);
  const found = rangesOfBlocks(blocks, hole.family).find(
    ({ first, last }) => first <= whole.last && whole.first <= last,
  );
  if (!found) return undefined;
  const lower = found.first > whole.first ? found : whole;
  const upper = found.last < whole.last ? found : whole;
  return { family: hole.family, first: lower.first, last: upper.last };
}

/** Rules that apply to the same pods in the same direction. */
const neighbours = (it: Case, direction: Direction) =>
  it.world.policies
    .filter(other => other === it.policy || mayShare(it, it.policy, other))
    .flatMap(other => rulesOf(other).map(placed => ({ ...placed, policy: policyRef(other) })))
    .filter(placed => placed.direction === direction);

function reportReopened(it: Case, { peer, field, direction, rule }: PlacedPeer<BlockPeer>): void {
  for (const [i, hole] of peer.except.entries()) {
    for (const other of neighbours(it, direction)) {
      const range = sharesPorts(rule.ports, other.rule.ports) ? reopened(hole, other.rule, peer) : undefined;
      if (!range) continue;
      const by = formatRule({ policy: other.policy, direction, index: other.rule.index });
      it.report(
        `${field}.ipBlock.except[${i}]`,
        `${by} allows ${rangeText(range)} again, since an except only carves a hole into its own block: except it there, too`,
      );
      break;
    }
  }
}

export const exceptReopened: Check = it => {
  for (const placed of peersOf(it.policy).filter(isBlock)) reportReopened(it, placed);
};
