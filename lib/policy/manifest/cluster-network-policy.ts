/**
 * Policies of a whole cluster from manifests: ClusterNetworkPolicy (v1alpha2, and v1beta1, which says the same), and
 * AdminNetworkPolicy and BaselineAdminNetworkPolicy (v1alpha1), which differ in the spelling of actions and ports. What the
 * API would refuse fails closed: a rule of which a part is invalid accepts nothing, and denies everything where it is there to
 * deny or to pass.
 * @see https://github.com/kubernetes-sigs/network-policy-api/blob/main/apis/v1alpha2/clusternetworkpolicy_types.go
 */
import { printable } from '../../tag/printable.ts';
import { isBeyondClusterBudget, MOST_OF_CLUSTER_POLICY } from '../model/budget.ts';
import {
  type Action,
  type ClusterPolicy,
  type ClusterRule,
  closedCluster,
  FIRST,
  failClosed,
  LAST,
  mostRules,
  onlyDenying,
  type Tier,
} from '../model/cluster-policy.ts';
import type { Direction, Peer, Port } from '../model/model.ts';
import { everything } from '../model/selector.ts';
import { type PeerKey, peersOf, subjectOf } from './cluster-peer.ts';
import { portsOf, protocolsOf } from './cluster-port.ts';
import { complain, type Field, holdsOnly, isAbsent, isMapping, isNo, itemsOf, member, shown, warn } from './field.ts';

export type NamedCluster = Pick<ClusterPolicy, 'kind' | 'name' | 'source' | 'resourceVersion'>;

/** The field names and values of one kind, for the meaning that all kinds share. */
interface Spelling {
  /** The first is the one to write. */
  readonly versions: readonly string[];
  readonly spec: readonly string[];
  readonly accept: string;
  readonly actions: Readonly<Record<string, Action>>;
  /** The key of a rule's ports. */
  readonly ports: 'protocols' | 'ports';
  readonly readPort: (field: Field, instead: string) => readonly Port[] | undefined;
  readonly to: readonly PeerKey[];
  /** Rules in a direction, peers and ports in a rule. */
  readonly most: number;
  readonly placeOf: (spec: Field) => Partial<Pick<ClusterPolicy, 'tier' | 'priority'>>;
}

const pods = ['namespaces', 'pods'] as const;
const onlyDenies = 'it accepts nothing, and denies what its other rules match';

function tierOf(field: Field): Tier | undefined {
  const { value } = field;
  if (value === 'Admin' || value === 'Baseline') return value;
  return complain(field, `${isNo(value, 'tier')}, so ${onlyDenies}: write Admin or Baseline`);
}

function priorityOf(field: Field): number | undefined {
  const { value } = field;
  if (typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= 1000) return value;
  return complain(field, `${isNo(value, 'priority')}, so ${onlyDenies}: write a number from 0 to 1000`);
}

function placed(
  tier: Tier | undefined,
  priority: number | undefined,
): Partial<Pick<ClusterPolicy, 'tier' | 'priority'>> {
  return { ...(tier === undefined ? {} : { tier }), ...(priority === undefined ? {} : { priority }) };
}

const today: Spelling = {
  versions: ['policy.networking.k8s.io/v1alpha2', 'policy.networking.k8s.io/v1beta1'],
  spec: ['tier', 'priority', 'subject', 'ingress', 'egress'],
  accept: 'Accept',
  actions: { Accept: 'Accept', Deny: 'Deny', Pass: 'Pass' },
  ports: 'protocols',
  readPort: protocolsOf,
  to: [...pods, 'nodes', 'networks', 'domainNames'],
  most: mostRules('ClusterNetworkPolicy'),
  placeOf: spec => placed(tierOf(member(spec, 'tier')), priorityOf(member(spec, 'priority'))),
};

const admin: Spelling = {
  versions: ['policy.networking.k8s.io/v1alpha1'],
  spec: ['priority', 'subject', 'ingress', 'egress'],
  accept: 'Allow',
  actions: { Allow: 'Accept', Deny: 'Deny', Pass: 'Pass' },
  ports: 'ports',
  readPort: portsOf,
  to: [...pods, 'nodes', 'networks', 'domainNames'],
  most: mostRules('AdminNetworkPolicy'),
  placeOf: spec => placed('Admin', priorityOf(member(spec, 'priority'))),
};

const baseline: Spelling = {
  ...admin,
  spec: ['subject', 'ingress', 'egress'],
  actions: { Allow: 'Accept', Deny: 'Deny' },
  to: [...pods, 'nodes', 'networks'],
  placeOf: () => placed('Baseline', LAST),
};

const spellings: Readonly<Record<ClusterPolicy['kind'], Spelling>> = {
  ClusterNetworkPolicy: today,
  AdminNetworkPolicy: admin,
  BaselineAdminNetworkPolicy: baseline,
};

function actionOf(field: Field, { actions, accept }: Spelling): Action {
  const { value } = field;
  if (typeof value === 'string' && Object.hasOwn(actions, value)) return actions[value]!;
  const isOther = value === 'Accept' || value === 'Allow';
  const hint = isOther ? `write ${accept}` : `write ${Object.keys(actions).join(', ')}`;
  complain(field, `${isNo(value, 'action')}, so the rule denies: ${hint}`);
  return 'Deny';
}

/** Every entry of a list that must not be empty, together; undefined, and reported, where one of them is invalid. */
function together<T>(
  field: Field,
  most: number,
  instead: string,
  read: (item: Field) => readonly T[] | undefined,
): readonly T[] | undefined {
  const items = itemsOf(field);
  if (!items) return undefined;
  if (items.length === 0) return complain(field, `No entries, so ${instead}: write at least one`);
  if (items.length > most) complain(field, `${items.length} entries, and the API takes ${most}: write more rules`);
  const found = items.map(read).filter(each => each !== undefined);
  return found.length === items.length ? found.flat() : undefined;
}

const isName = (port: Port): boolean => 'name' in port;

/** Warns of a port by name beside peers that are no pods. Only the API's experimental channel speaks of it, for egress. */
function checkNames(field: Field, peers: readonly Peer[], ports: 'any' | readonly Port[]): void {
  if (ports === 'any' || !ports.some(isName) || peers.every(({ kind }) => kind === 'pods')) return;
  warn(field, 'A port by name beside peers that are no pods: it means ports of pods alone, and the API may refuse it');
}

/** The API has peers by domain names for Accept only. @returns whether the rule cannot count as it stands */
function misusesDomains(field: Field, action: Action, instead: string): boolean {
  const named = (itemsOf(field) ?? []).map(item => member(item, 'domainNames')).filter(names => !isAbsent(names));
  if (named.length === 0) return false;
  if (action === 'Accept') {
    for (const names of named)
      warn(names, 'Nothing is known of domain names by this version, so this peer matches nothing');
    return false;
  }
  complain(field, `domainNames are for rules that accept, so ${instead}: write networks, or deny everything else`);
  return true;
}

function nameOf(field: Field): { readonly name?: string } {
  if (isAbsent(field) || field.value === '') return {};
  if (typeof field.value === 'string' && field.value.length <= 100) return { name: printable(field.value) };
  complain(field, `${shown(field.value)} is no name, and left out: write a text of at most 100 characters`);
  return {};
}

function ruleOf(field: Field, index: number, direction: Direction, spelling: Spelling): ClusterRule {
  const side = direction === 'ingress' ? 'from' : 'to';
  const action = actionOf(member(field, 'action'), spelling);
  const rule = { index, ...nameOf(member(field, 'name')), action } as const;
  const instead = action === 'Accept' ? 'the rule matches nothing' : 'the rule denies everything';
  const known = ['name', 'action', side, spelling.ports];
  const isPlain = !isAbsent(field) && !isOfOtherVersion(field, spelling) && holdsOnly(field, known, instead);
  const peerKeys = direction === 'ingress' ? pods : spelling.to;
  const peers = together(member(field, side), spelling.most, instead, item => peersOf(item, peerKeys, instead));
  const ports = portsIn(member(field, spelling.ports), spelling, instead);
  if (!isPlain || !peers || !ports || misusesDomains(member(field, side), action, instead))
    return failClosed({ ...rule, peers: 'any', ports: 'any' });
  checkNames(member(field, spelling.ports), peers, ports);
  return { ...rule, peers, ports };
}

/** Complains of the other version's word for ports, which `holdsOnly` cannot guess: no field of this version is spelt like it. */
function isOfOtherVersion(field: Field, { ports }: Spelling): boolean {
  const other = ports === 'ports' ? 'protocols' : 'ports';
  if (!isMapping(field.value) || !(other in field.value)) return false;
  complain(member(field, other), `The spelling of another version, so the rule fails closed: write ${ports}`);
  return true;
}

function portsIn(field: Field, spelling: Spelling, instead: string): 'any' | readonly Port[] | undefined {
  if (isAbsent(field)) return 'any';
  return together(field, spelling.most, instead, item => spelling.readPort(item, instead));
}

function rulesOf(spec: Field, direction: Direction, spelling: Spelling): readonly ClusterRule[] | undefined {
  const field = member(spec, direction);
  const items = itemsOf(field);
  if (items && items.length > spelling.most)
    complain(field, `${items.length} rules, and the API takes ${spelling.most}: make two policies of it`);
  return items?.map((item, index) => ruleOf(item, index, direction, spelling));
}

const deniesAll = 'its subject is denied everything, in both directions';
const beyondBudget = `More than ${MOST_OF_CLUSTER_POLICY} entries (peers, networks, values, ports; those of peers once for each port by name), so ${deniesAll}: make networks larger, or several policies of it`;

/** The policy closed, as one that exceeds the budget is; that is reported. */
export function tooLargeCluster(object: Field, policy: ClusterPolicy): ClusterPolicy {
  complain(member(object, 'spec'), beyondBudget);
  return { ...closedCluster(policy), isBeyondBudget: true };
}

const invalid = (policy: ClusterPolicy): ClusterPolicy => ({ ...policy, isInvalid: true });

/** The policy that the object's `spec` says; complaints go to the field's report. */
export function clusterPolicyOf(object: Field, apiVersion: string, named: NamedCluster): ClusterPolicy {
  const spelling = spellings[named.kind];
  const isKnown = spelling.versions.includes(apiVersion);
  if (!isKnown)
    complain(
      member(object, 'apiVersion'),
      `${shown(apiVersion)} is no version of ${named.kind} that is known here, so ${onlyDenies}: write ${spelling.versions[0]}`,
    );
  const spec = member(object, 'spec');
  const nothing: ClusterPolicy = {
    ...{ ...named, tier: 'Admin', priority: FIRST },
    ...{ subject: { kind: 'pods', namespace: everything, pods: everything }, ingress: [], egress: [] },
  };
  if (isAbsent(spec)) {
    complain(spec, `Missing, so every pod is denied everything: write it`);
    return invalid(closedCluster(nothing));
  }
  // A misspelt field may be the list of rules that closes something.
  const isPlain = [
    holdsOnly(object, ['apiVersion', 'kind', 'metadata', 'spec', 'status'], deniesAll),
    holdsOnly(spec, spelling.spec, deniesAll),
  ].every(Boolean);
  const place = spelling.placeOf(spec);
  const subject = subjectOf(member(spec, 'subject'), `it is every pod's, and ${onlyDenies}`);
  const policy = {
    ...{ ...nothing, ...(place.tier === undefined ? {} : place) },
    ...(subject ? { subject } : {}),
  };
  if (isBeyondClusterBudget(spec.value)) return tooLargeCluster(object, policy);
  const [ingress, egress] = [rulesOf(spec, 'ingress', spelling), rulesOf(spec, 'egress', spelling)];
  if (!isPlain || !ingress || !egress) return invalid(closedCluster(policy));
  const isPlaced = isKnown && place.tier !== undefined && place.priority !== undefined && subject !== undefined;
  return isPlaced ? { ...policy, ingress, egress } : invalid(onlyDenying({ ...policy, ingress, egress }));
}
