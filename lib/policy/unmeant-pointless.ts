/** Policies that could as well not be there, whatever pods there are. */
import { type Prefix, rangeContains, rangeOf } from '../ip/address.ts';
import { isNumbered, type NetworkPolicy, type Peer, type PodPeer, type Port, policyRef, type Rule } from './model.ts';
import { podPeerText, requirementText } from './selector.ts';
import type { Check } from './unmeant.ts';

const isWithin = (inner: Prefix, outer: Prefix): boolean => {
  const [a, b] = [rangeOf(inner), rangeOf(outer)];
  return a.family === b.family && rangeContains(b, { family: a.family, value: a.first }) && a.last <= b.last;
};

const isDisjoint = (a: Prefix, b: Prefix): boolean => !isWithin(a, b) && !isWithin(b, a);

/** Whether all that one selector asks for is asked for by the other as well: then it selects whatever the other does. */
function asksNoMore(wider: PodPeer['pods'], narrower: PodPeer['pods']): boolean {
  const texts = new Set(narrower.requirements.map(requirementText));
  return wider.requirements.every(requirement => texts.has(requirementText(requirement)));
}

function coversPeer(wider: Peer, narrower: Peer): boolean {
  if (wider.kind === 'pods' && narrower.kind === 'pods') {
    if (podPeerText(wider) === podPeerText(narrower)) return true;
    const [a, b] = [wider.namespace, narrower.namespace];
    const isSamePlace = typeof a === 'string' ? a === b : typeof b !== 'string' && asksNoMore(a, b);
    return isSamePlace && asksNoMore(wider.pods, narrower.pods);
  }
  if (wider.kind !== 'block' || narrower.kind !== 'block' || !isWithin(narrower.cidr, wider.cidr)) return false;
  return wider.except.every(
    hole => isDisjoint(hole, narrower.cidr) || narrower.except.some(other => isWithin(hole, other)),
  );
}

function coversPort(wider: Port, narrower: Port): boolean {
  if (wider.protocol !== narrower.protocol) return false;
  if (isNumbered(wider))
    return isNumbered(narrower)
      ? wider.first <= narrower.first && narrower.last <= wider.last
      : wider.first === 0 && wider.last === 65535;
  return !isNumbered(narrower) && wider.name === narrower.name;
}

const coversAll = <T>(
  wider: 'any' | readonly T[],
  narrower: 'any' | readonly T[],
  covers: (a: T, b: T) => boolean,
): boolean =>
  wider === 'any' || (narrower !== 'any' && narrower.every(each => wider.some(other => covers(other, each))));

const coversRule = (wider: Rule, narrower: Rule): boolean =>
  coversAll(wider.peers, narrower.peers, coversPeer) && coversAll(wider.ports, narrower.ports, coversPort);

/** A rule that matches nothing is covered by whatever there is. */
const matchesNothing = ({ peers, ports }: Rule): boolean => peers.length === 0 || ports.length === 0;

/** Whether `wider` isolates wherever `narrower` does, and allows whatever it allows, for all of its pods. */
export function covers(wider: NetworkPolicy, narrower: NetworkPolicy): boolean {
  if (wider.namespace !== narrower.namespace || !asksNoMore(wider.subject, narrower.subject)) return false;
  return (['egress', 'ingress'] as const).every(direction => {
    const [rules, asked] = [wider[direction], narrower[direction]];
    if (!asked) return true;
    return (
      rules !== undefined && asked.every(rule => matchesNothing(rule) || rules.some(other => coversRule(other, rule)))
    );
  });
}

/** Of two that cover each other, the one that was declared first stays. */
export const pointless: Check = ({ policy, world, report }) => {
  const own = world.policies.indexOf(policy);
  const other = world.policies.find(
    (each, i) => each !== policy && covers(each, policy) && (i < own || !covers(policy, each)),
  );
  if (!other) return;
  report(
    '',
    `${policyRef(other)} isolates the same pods and allows all that this policy does, so it changes nothing: take one of the two out`,
  );
};
