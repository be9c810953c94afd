/**
 * The first policies ever written for Kubernetes (1.2 to 1.6), in today's model: a namespace is isolated for ingress by an
 * annotation, all of it, and policies only ever allow; where the annotation is off they do nothing.
 *
 * - `net.alpha.kubernetes.io/v1alpha1`, a ThirdPartyResource: selectors are plain maps of labels; annotation
 *   `net.alpha.kubernetes.io/network-isolation: on|off` (some of its makers wrote yes and no).
 * - `extensions/v1beta1`: the shape of v1's ingress; annotation
 *   `net.beta.kubernetes.io/network-policy: {"ingress": {"isolation": "DefaultDeny"}}`.
 *
 * In both APIs an empty list of sources or ports matches nothing; in v1 it matches everything.
 * @see https://kubernetes.io/blog/2016/04/Kubernetes-Network-Policy-APIs
 * @see Kubernetes 1.6, pkg/apis/extensions/v1beta1/types.go NetworkPolicyIngressRule
 */

import type { LabelSelector, NetworkPolicy, Peer, PodPeer, PolicyRule, Requirement } from '../model/model.ts';
import { everything } from '../model/selector.ts';
import {
  complain,
  type Field,
  holdsOnly,
  isAbsent,
  isMapping,
  itemsOf,
  member,
  membersOf,
  shown,
  warn,
} from './field.ts';
import { closedNamespace, networkPolicyOf, type PolicyHead, peerOf, portOf } from './network-policy.ts';
import { checkLabelKey, labelValueOf, selectorOf } from './selector.ts';

export const alphaVersion = 'net.alpha.kubernetes.io/v1alpha1';
export const betaVersion = 'extensions/v1beta1';
const alphaAnnotation = 'net.alpha.kubernetes.io/network-isolation';
const betaAnnotation = 'net.beta.kubernetes.io/network-policy';

const closed = 'so the namespace is isolated';

function alphaIsolation(field: Field): boolean {
  const { value } = field;
  if (isAbsent(field)) return false;
  // YAML takes on and off for flags, and the API takes texts only.
  if (typeof value === 'boolean') complain(field, `${value} where a text is expected: write "on" or "off", in quotes`);
  const word = String(value).toLowerCase();
  if (['off', 'no', 'false'].includes(word)) return false;
  if (!['on', 'yes', 'true'].includes(word)) complain(field, `${shown(value)} is neither on nor off, ${closed}`);
  return true;
}

/** The annotation's JSON as a field below it. */
function parsed(field: Field): Field | undefined {
  if (typeof field.value !== 'string')
    return complain(field, `${shown(field.value)} where JSON in a text is expected, ${closed}`);
  try {
    return { ...field, value: JSON.parse(field.value) };
  } catch {
    return complain(
      field,
      `${shown(field.value)} is no JSON, ${closed}: write '{"ingress": {"isolation": "DefaultDeny"}}'`,
    );
  }
}

function betaIsolation(field: Field): boolean {
  if (isAbsent(field)) return false;
  const json = parsed(field);
  if (!json || !holdsOnly(json, ['ingress'], 'the namespace is isolated')) return true;
  const ingress = member(json, 'ingress');
  if (!holdsOnly(ingress, ['isolation'], 'the namespace is isolated')) return true;
  const isolation = member(ingress, 'isolation');
  if (isAbsent(isolation)) return false;
  if (isolation.value !== 'DefaultDeny')
    complain(isolation, `${shown(isolation.value)} is no isolation, ${closed}: write DefaultDeny`);
  return true;
}

/** Whether the namespace's annotations isolate it for ingress, by either API. */
export function isIsolated(namespace: Field): boolean {
  const annotations = member(member(namespace, 'metadata'), 'annotations');
  const isolated = [
    alphaIsolation(member(annotations, alphaAnnotation)),
    betaIsolation(member(annotations, betaAnnotation)),
  ];
  return isolated.includes(true);
}

/** The annotation as a policy: all pods of the namespace are isolated for ingress, whatever policies there are. */
export const isolationOf = (namespace: string): NetworkPolicy => ({
  kind: 'Namespace',
  namespace,
  name: 'network-isolation',
  subject: everything,
  ingress: [],
});

/** `{app: web}` as a selector; undefined, and reported, where it is none. */
function plainSelector(field: Field, instead: string): LabelSelector | undefined {
  const isModern =
    isMapping(field.value) && ['matchLabels', 'matchExpressions'].some(key => isMapping(member(field, key).value));
  if (isModern)
    return complain(field, `A selector of later versions, ${instead}: write the labels themselves, as in {app: web}`);
  const members = membersOf(field);
  const found = members?.map(([key, value]): Requirement | undefined => {
    const isKey = checkLabelKey(value, key);
    const label = labelValueOf(value);
    return isKey && label !== undefined ? { key, operator: 'In', values: [label] } : undefined;
  });
  const requirements = found?.filter(requirement => requirement !== undefined);
  return requirements && requirements.length === found?.length ? { requirements } : undefined;
}

function alphaPeer(field: Field, namespace: string): PodPeer | undefined {
  const instead = 'so this peer matches nothing';
  if (!holdsOnly(field, ['pods', 'namespaces'], 'this peer matches nothing')) return undefined;
  const [pods, namespaces] = [member(field, 'pods'), member(field, 'namespaces')];
  if (isAbsent(pods) === isAbsent(namespaces))
    return complain(field, `Expected either pods or namespaces, ${instead}: write {} for all of them`);
  const selector = plainSelector(isAbsent(pods) ? namespaces : pods, instead);
  if (!selector) return undefined;
  return isAbsent(pods)
    ? { kind: 'pods', namespace: selector, pods: everything }
    : { kind: 'pods', namespace, pods: selector };
}

/** Absent is everything, as in v1; empty is nothing, as it no longer is. */
function listOrAny<T>(field: Field, read: (item: Field) => T | undefined): 'any' | readonly T[] {
  if (isAbsent(field)) return 'any';
  const items = itemsOf(field) ?? [];
  if (items.length === 0) warn(field, 'Empty, which here means that nothing matches: leave it out to match everything');
  return items.map(read).filter(item => item !== undefined);
}

const onlyIngress = ['ingress'] as const;

function alphaRules(allow: Field, namespace: string): readonly PolicyRule[] {
  if (isAbsent(allow) || !holdsOnly(allow, ['from', 'toPorts'], 'the policy allows nothing')) return [];
  const peers = listOrAny(member(allow, 'from'), item => alphaPeer(item, namespace));
  return [{ index: 0, peers, ports: listOrAny(member(allow, 'toPorts'), portOf) }];
}

const allowsNothing = 'the policy allows nothing';

/** net.alpha.kubernetes.io/v1alpha1; where it is invalid it allows nothing. */
export function alphaPolicyOf(object: Field, named: PolicyHead): NetworkPolicy {
  const spec = member(object, 'spec');
  const isPlain = [
    holdsOnly(object, ['apiVersion', 'kind', 'metadata', 'spec'], allowsNothing),
    holdsOnly(spec, ['podSelector', 'allowIncoming'], allowsNothing),
  ].every(Boolean);
  const subject = plainSelector(member(spec, 'podSelector'), `so ${allowsNothing}`);
  if (!isPlain || !subject) return closedNamespace(named, onlyIngress);
  return { ...named, subject, ingress: alphaRules(member(spec, 'allowIncoming'), named.namespace) };
}

function betaPeer(field: Field, namespace: string): Peer | undefined {
  return holdsOnly(field, ['podSelector', 'namespaceSelector'], 'this peer matches nothing')
    ? peerOf(field, namespace)
    : undefined;
}

function betaRule(field: Field, index: number, namespace: string): PolicyRule {
  if (isAbsent(field) || !holdsOnly(field, ['from', 'ports'], 'this rule allows nothing'))
    return { index, peers: [], ports: [] };
  const peers = listOrAny(member(field, 'from'), item => betaPeer(item, namespace));
  return { index, peers, ports: listOrAny(member(field, 'ports'), portOf) };
}

/** Whether a policy of extensions/v1beta1 has what Kubernetes 1.8 brought, when that version meant what v1 means. */
function isLater(spec: Field): boolean {
  if (['policyTypes', 'egress'].some(key => !isAbsent(member(spec, key)))) return true;
  const ingress = member(spec, 'ingress').value;
  const peers = (Array.isArray(ingress) ? ingress : []).flatMap((rule: unknown): unknown[] =>
    isMapping(rule) && Array.isArray(rule['from']) ? rule['from'] : [],
  );
  return peers.some(
    peer => isMapping(peer) && ('ipBlock' in peer || ('podSelector' in peer && 'namespaceSelector' in peer)),
  );
}

export interface Translated {
  readonly policy: NetworkPolicy;
  /** The policy allows something only where its namespace is isolated by annotation. */
  readonly needsIsolation: boolean;
}

/** extensions/v1beta1; where it is invalid it allows nothing. */
export function betaPolicyOf(object: Field, named: PolicyHead): Translated {
  const spec = member(object, 'spec');
  if (isLater(spec)) {
    const version = member(object, 'apiVersion');
    warn(version, `Says what only Kubernetes 1.8 and later know, so it is read as v1: write networking.k8s.io/v1`);
    return { policy: networkPolicyOf(object, named), needsIsolation: false };
  }
  const isPlain = [
    holdsOnly(object, ['apiVersion', 'kind', 'metadata', 'spec'], allowsNothing),
    holdsOnly(spec, ['podSelector', 'ingress'], allowsNothing),
  ].every(Boolean);
  const selector = member(spec, 'podSelector');
  const subject = isAbsent(selector)
    ? complain(selector, `Missing, so ${allowsNothing}: write {} for every pod of the namespace`)
    : selectorOf(selector, allowsNothing);
  if (!isPlain || !subject) return { policy: closedNamespace(named, onlyIngress), needsIsolation: true };
  const rules = itemsOf(member(spec, 'ingress')) ?? [];
  const ingress = rules.map((rule, index) => betaRule(rule, index, named.namespace));
  return { policy: { ...named, subject, ingress }, needsIsolation: true };
}
