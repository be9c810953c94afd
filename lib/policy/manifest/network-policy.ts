/**
 * networking.k8s.io/v1 NetworkPolicy from a manifest that no API server has seen: its defaults are filled in here, and
 * what it would have refused is closed: a peer or port that is invalid matches nothing, a policy whose selector is
 * invalid closes its namespace, one that does not say clearly which directions it isolates isolates both.
 */
import { type Prefix, parsePrefix, rangeContains, rangeOf } from '../../ip/address.ts';
import { closed, isBeyondBudget, MOST_OF_POLICY } from '../model/budget.ts';
import {
  type BlockPeer,
  type Direction,
  type LabelSelector,
  type NetworkPolicy,
  type Peer,
  type PodPeer,
  type PolicyRule,
  type Port,
  type Protocol,
  protocols,
} from '../model/model.ts';
import { isPortName } from '../model/name-syntax.ts';
import { everything } from '../model/selector.ts';
import { complain, decimal, type Field, holdsOnly, isAbsent, isNo, itemsOf, member, shown, warn } from './field.ts';
import { selectorOf } from './selector.ts';

const noPeer = 'this peer matches nothing';
const noPort = 'this port matches nothing';

/**
 * A CIDR; undefined, and reported with what follows from it (`instead`), where it is none.
 * @param api what API servers do with leading zeros
 */
export function prefixOf(field: Field, instead: string, api?: string): Prefix | undefined {
  const prefix = typeof field.value === 'string' ? decimal(field, field.value, parsePrefix, api) : undefined;
  return prefix ?? complain(field, `${isNo(field.value, 'CIDR')}, so ${instead}: write "10.0.0.0/8" or "fd00::/64"`);
}

function holeOf(field: Field, cidr: Prefix): Prefix | undefined {
  const hole = prefixOf(field, noPeer);
  if (!hole) return undefined;
  const { first } = rangeOf(hole);
  if (hole.length > cidr.length && rangeContains(rangeOf(cidr), { family: hole.family, value: first })) return hole;
  return complain(field, `${shown(field.value)} is not within the cidr and smaller, so ${noPeer}`);
}

function blockOf(field: Field): BlockPeer | undefined {
  if (!holdsOnly(field, ['cidr', 'except'], noPeer)) return undefined;
  const cidr = prefixOf(member(field, 'cidr'), noPeer);
  if (!cidr) return undefined;
  const except = itemsOf(member(field, 'except'))?.map(item => holeOf(item, cidr));
  const holes = except?.filter(hole => hole !== undefined);
  return holes && holes.length === except?.length ? { kind: 'block', cidr, except: holes } : undefined;
}

function podPeerOf(namespaces: Field, pods: Field, ownNamespace: string): PodPeer | undefined {
  const namespace = isAbsent(namespaces) ? ownNamespace : selectorOf(namespaces, noPeer);
  const selector = isAbsent(pods) ? everything : selectorOf(pods, noPeer);
  return namespace !== undefined && selector ? { kind: 'pods', namespace, pods: selector } : undefined;
}

/** One peer of a rule; undefined, and reported, where it is invalid. */
export function peerOf(field: Field, ownNamespace: string): Peer | undefined {
  if (!holdsOnly(field, ['podSelector', 'namespaceSelector', 'ipBlock'], noPeer)) return undefined;
  const [pods, namespaces, block] = [
    member(field, 'podSelector'),
    member(field, 'namespaceSelector'),
    member(field, 'ipBlock'),
  ];
  const hasSelector = !isAbsent(pods) || !isAbsent(namespaces);
  if (isAbsent(block) && !hasSelector)
    return complain(
      field,
      `An empty peer, so it matches nothing: write "podSelector: {}" for all pods of the namespace`,
    );
  if (isAbsent(block)) return podPeerOf(namespaces, pods, ownNamespace);
  if (hasSelector) return complain(field, `ipBlock beside a selector, so ${noPeer}: write them as two entries`);
  return blockOf(block);
}

function protocolOf(field: Field): Protocol | undefined {
  if (isAbsent(field)) return 'TCP';
  const protocol = protocols.find(known => known === field.value);
  return protocol ?? complain(field, `${shown(field.value)} is no protocol, so ${noPort}: write TCP, UDP or SCTP`);
}

export const isPortNumber = (value: unknown): value is number =>
  typeof value === 'number' && Number.isInteger(value) && value >= 1 && value <= 65535;

/** endPort where it is present, else the port itself. */
function lastPortOf(field: Field, first: number): number | undefined {
  if (isAbsent(field)) return first;
  if (isPortNumber(field.value) && field.value >= first) return field.value;
  return complain(
    field,
    `${shown(field.value)} is no end for a range, so ${noPort}: write a number from ${first} to 65535`,
  );
}

/** One port of a rule; undefined, and reported, where it is invalid. */
export function portOf(field: Field): Port | undefined {
  if (isAbsent(field))
    return complain(field, `An empty port, so it matches nothing: write "protocol: TCP" for all of TCP`);
  if (!holdsOnly(field, ['protocol', 'port', 'endPort'], noPort)) return undefined;
  const [port, endPort] = [member(field, 'port'), member(field, 'endPort')];
  const protocol = protocolOf(member(field, 'protocol'));
  if (!protocol) return undefined;
  if (isPortNumber(port.value)) {
    const last = lastPortOf(endPort, port.value);
    return last === undefined ? undefined : { protocol, first: port.value, last };
  }
  if (!isAbsent(endPort)) return complain(endPort, `endPort needs a port that is a number, so ${noPort}`);
  if (isAbsent(port)) return { protocol, first: 0, last: 65535 };
  if (typeof port.value === 'string' && isPortName(port.value)) return { protocol, name: port.value };
  const hint = /^[0-9]+$/.test(String(port.value)) ? 'a number from 1 to 65535, without quotes' : 'a number, or a name';
  return complain(port, `${isNo(port.value, 'port')}, so ${noPort}: write ${hint}`);
}

/** The valid ones of a rule's list; `any` where the list is absent or empty, none where it is no list. */
function listOrAny<T>(field: Field, read: (item: Field) => T | undefined): 'any' | readonly T[] {
  const items = itemsOf(field);
  if (items?.length === 0) return 'any';
  return (items ?? []).map(read).filter(item => item !== undefined);
}

function ruleOf(field: Field, index: number, direction: Direction, namespace: string): PolicyRule {
  const peers = direction === 'ingress' ? 'from' : 'to';
  if (isAbsent(field)) complain(field, 'An empty rule, so it allows nothing: write {} to allow everything');
  else if (holdsOnly(field, [peers, 'ports'], 'this rule allows nothing'))
    return {
      index,
      peers: listOrAny(member(field, peers), item => peerOf(item, namespace)),
      ports: listOrAny(member(field, 'ports'), portOf),
    };
  return { index, peers: [], ports: [] };
}

const rulesOf = (field: Field, direction: Direction, namespace: string): readonly PolicyRule[] =>
  (itemsOf(field) ?? []).map((item, index) => ruleOf(item, index, direction, namespace));

const isolatesBoth = 'both directions are isolated';
const bothDirections: readonly Direction[] = ['egress', 'ingress'];

/** The directions that the policy isolates: those of policyTypes, else Ingress, and Egress where there is an egress rule. */
function directionsOf(spec: Field): readonly Direction[] {
  const field = member(spec, 'policyTypes');
  const types = itemsOf(field);
  if (!types) return bothDirections;
  const egress = member(spec, 'egress').value;
  if (types.length === 0) {
    const hasEgress = Array.isArray(egress) ? egress.length > 0 : egress !== undefined && egress !== null;
    return hasEgress ? bothDirections : ['ingress'];
  }
  const wrong = types.filter(({ value }) => value !== 'Ingress' && value !== 'Egress');
  for (const type of wrong)
    complain(type, `${shown(type.value)} is no policy type, so ${isolatesBoth}: write Ingress or Egress`);
  if (wrong.length > 0) return bothDirections;
  return bothDirections.filter(direction =>
    types.some(({ value }) => value === (direction === 'ingress' ? 'Ingress' : 'Egress')),
  );
}

function subjectOf(field: Field): LabelSelector | undefined {
  if (isAbsent(field)) warn(field, 'Missing, so the policy selects every pod of its namespace: write {} to say so');
  return selectorOf(field, closesNamespace);
}

const beyondBudget = `More than ${MOST_OF_POLICY} entries (peers, excepts, values, ports; those of peers once for each port by name), so it closes the pods that it selects: make blocks larger, or several policies of it`;

/** The policy closed, as one that exceeds the budget is; that is reported. */
export function tooLarge(object: Field, policy: NetworkPolicy): NetworkPolicy {
  complain(member(object, 'spec'), beyondBudget);
  return closed(policy);
}

const closesNamespace = 'the policy closes every pod of its namespace';

export type PolicyHead = Pick<NetworkPolicy, 'kind' | 'namespace' | 'name' | 'source' | 'resourceVersion'>;

/** Selects every pod of the namespace, isolates and allows nothing. */
export const closedNamespace = (
  named: PolicyHead,
  directions: readonly Direction[] = bothDirections,
): NetworkPolicy => ({
  ...named,
  subject: everything,
  ...Object.fromEntries(directions.map(direction => [direction, []])),
  isInvalid: true,
});

/** The policy that the object's `spec` says; complaints go to the field's report. */
export function networkPolicyOf(object: Field, named: PolicyHead): NetworkPolicy {
  const spec = member(object, 'spec');
  if (isAbsent(spec)) {
    complain(spec, `Missing, so ${closesNamespace}: write at least "podSelector: {}"`);
    return closedNamespace(named);
  }
  // A misspelt or misplaced field may be the one that says which directions are isolated.
  const isPlain = [
    holdsOnly(object, ['apiVersion', 'kind', 'metadata', 'spec', 'status'], isolatesBoth),
    holdsOnly(spec, ['podSelector', 'policyTypes', 'ingress', 'egress'], isolatesBoth),
  ].every(Boolean);
  const directions = isPlain ? directionsOf(spec) : bothDirections;
  const subject = subjectOf(member(spec, 'podSelector'));
  if (!subject) return closedNamespace(named, directions);
  if (isBeyondBudget(spec.value))
    return tooLarge(object, { ...named, subject, ...Object.fromEntries(directions.map(direction => [direction, []])) });
  const rules = directions.map(direction => [direction, rulesOf(member(spec, direction), direction, named.namespace)]);
  return { ...named, subject, ...Object.fromEntries(rules) };
}
