/**
 * The model of policy: namespaces, pods and policies as values, already validated. Text and Kubernetes objects become
 * these in `manifest.ts`; whatever was invalid there is already closed here, so no code below checks again.
 */
import type { Family, Prefix } from '../../ip/address.ts';
import type { NamedPort } from '../../tag/identity.ts';
import { type ClusterPolicy, clusterPolicyRef, type Tier } from './cluster-policy.ts';

export type Labels = ReadonlyMap<string, string>;

/** The protocols that NetworkPolicy knows. */
export type Protocol = 'TCP' | 'UDP' | 'SCTP';

export const protocols: readonly Protocol[] = ['TCP', 'UDP', 'SCTP'];

export type Direction = 'egress' | 'ingress';

/** The label that the API server puts on every namespace; a namespace that no manifest declares gets it here. */
export const nameLabel = 'kubernetes.io/metadata.name';

export interface World {
  /** Labels by name. A namespace that is missing here has its name as its only label. */
  readonly namespaces: ReadonlyMap<string, Labels>;
  readonly pods: readonly Pod[];
  readonly policies: readonly NetworkPolicy[];
  readonly nodes?: readonly Node[];
  /** Cluster policies of all tiers, in any order. */
  readonly clusterPolicies?: readonly ClusterPolicy[];
  /** Judged and never enforced: they stand apart from the others, so that none of these can be taken for one in force. */
  readonly staged?: Staged;
}

export interface Staged {
  readonly policies: readonly NetworkPolicy[];
  readonly clusterPolicies: readonly ClusterPolicy[];
}

export interface Pod {
  readonly namespace: string;
  readonly name: string;
  readonly uid?: string;
  readonly labels: Labels;
  /** Canonical text. */
  readonly addresses: readonly string[];
  readonly namedPorts: readonly NamedPort[];
  /** The pod shares its node's network, and counts as the node: neither subject nor peer of a selector. */
  readonly hostNetwork: boolean;
  /** Phase Succeeded or Failed: neither subject nor peer, and its addresses may belong to another pod by now. */
  readonly finished: boolean;
  readonly nodeName?: string;
  /** The pod runs on this node. */
  readonly local?: boolean;
}

export interface Node {
  readonly name: string;
  readonly labels: Labels;
  /** Canonical text. */
  readonly addresses: readonly string[];
}

/** File and document that an object was read from: documents are counted from 0 within a file. */
export interface Source {
  readonly file: string;
  readonly document: number;
  /** Version of an object that an API server gave; such an object is in no file. */
  readonly resourceVersion?: string;
}

/** `web.yaml#2`, counting from 1 for people; of an object of the API `the Kubernetes API, resourceVersion 4711`. */
export const sourceText = ({ file, document, resourceVersion }: Source): string =>
  resourceVersion === undefined ? `${file}#${document + 1}` : `${file}, resourceVersion ${resourceVersion}`;

export interface NetworkPolicy {
  /** `Namespace` is the annotation by which namespaces were isolated in 2016. */
  readonly kind: 'NetworkPolicy' | 'Namespace';
  readonly namespace: string;
  readonly name: string;
  readonly source?: Source;
  /** `metadata.resourceVersion` of the API server. */
  readonly resourceVersion?: string;
  /** The pods of its namespace that it selects. */
  readonly subject: LabelSelector;
  /** Rules that let traffic in; absent where it does not isolate for ingress, empty where it isolates and allows nothing. */
  readonly ingress?: readonly PolicyRule[];
  readonly egress?: readonly PolicyRule[];
  /** Its spec is invalid, so it closes its namespace, and a rule that is added to it allows nothing. */
  readonly isInvalid?: true;
  /** The policy allows nothing because it, or all policies of its namespace together, exceed the budget. */
  readonly isBeyondBudget?: true;
}

/** One requirement on labels; `values` is empty for Exists and DoesNotExist. */
export interface Requirement {
  readonly key: string;
  readonly operator: 'In' | 'NotIn' | 'Exists' | 'DoesNotExist';
  readonly values: readonly string[];
}

/** All must hold; none at all holds for everything. */
export interface LabelSelector {
  readonly requirements: readonly Requirement[];
}

/** One entry of `ingress` or `egress`. A list without entries matches nothing: its entries were invalid. */
export interface PolicyRule {
  /** Its place in the manifest's list, from 0. */
  readonly index: number;
  readonly peers: 'any' | readonly Peer[];
  readonly ports: 'any' | readonly Port[];
}

/** Nodes and domains are peers of cluster policies only. */
export type Peer = PodPeer | BlockPeer | NodePeer | DomainPeer;

/** Pods by label: those of one namespace, or those of the namespaces that a selector matches. Never anything but pods. */
export interface PodPeer {
  readonly kind: 'pods';
  readonly namespace: string | LabelSelector;
  readonly pods: LabelSelector;
}

/** Addresses, whosever they are: pods' too. `except` carves a hole into this block only. */
export interface BlockPeer {
  readonly kind: 'block';
  readonly cidr: Prefix;
  readonly except: readonly Prefix[];
}

/** Addresses of the nodes that the selector matches, and so of all that runs on their own network. */
export interface NodePeer {
  readonly kind: 'nodes';
  readonly nodes: LabelSelector;
}

/** Addresses that the pod was given for one of the names. Nothing is known of any name yet, so it matches nothing. */
export interface DomainPeer {
  readonly kind: 'domains';
  /** Lower case, without the last dot; `*.` in front stands for one or more labels. */
  readonly names: readonly string[];
}

export type Port = NumberedPort | PortName;

/** Inclusive at both ends; 0 to 65535 is every port of the protocol. */
export interface NumberedPort {
  readonly protocol: Protocol;
  readonly first: number;
  readonly last: number;
}

/** A container port of the destination pod, whichever number it has there. */
export interface PortName {
  readonly protocol: Protocol;
  readonly name: string;
}

export const isNumbered = (port: Port): port is NumberedPort => 'first' in port;

/** Something that a rule of a policy did, so that it can be named. */
export interface RuleRef {
  /** `Kind/namespace/name`, or `Kind/name` of a cluster policy. */
  readonly policy: string;
  readonly direction: Direction;
  readonly index: number;
  /** The rule's `name` in the manifest. */
  readonly name?: string;
}

export type AnyPolicy = NetworkPolicy | ClusterPolicy;

/** Whether a rule that is added to the policy counts. */
export const heedsRules = ({ isInvalid, isBeyondBudget }: AnyPolicy): boolean => !isInvalid && !isBeyondBudget;

/** `Kind/namespace/name`, or `Kind/name` of a cluster policy. */
export const policyRef = (policy: AnyPolicy): string =>
  'namespace' in policy ? `${policy.kind}/${policy.namespace}/${policy.name}` : clusterPolicyRef(policy);

/** The namespace in a `policyRef`; undefined for a cluster policy's. */
export function namespaceOfRef(ref: string): string | undefined {
  const [, namespace, name] = ref.split('/');
  return name === undefined ? undefined : namespace;
}

/** `NetworkPolicy/a/web ingress[0]`, `ClusterNetworkPolicy/bank ingress[0] "no shop"` */
export const formatRule = ({ policy, direction, index, name }: RuleRef): string =>
  `${policy} ${direction}[${index}]${name === undefined ? '' : ` ${JSON.stringify(name)}`}`;

/** One end of a flow. A node without a name is the other end's own node. */
export type Endpoint =
  | { readonly kind: 'pod'; readonly pod: Pod }
  | { readonly kind: 'address'; readonly address: string }
  | { readonly kind: 'node'; readonly name?: string };

/** A connection about to be made, as it is after DNAT and before SNAT. */
export interface Flow {
  readonly from: Endpoint;
  readonly to: Endpoint;
  /** null: judged by labels alone, since addresses are not known yet; then no ipBlock matches. */
  readonly family: Family | null;
  /** `other` is whatever has no ports that NetworkPolicy knows, ICMP echo for one: only a rule without `ports` allows it. */
  readonly protocol: Protocol | 'other';
  /** The destination's; 0 where there is none. */
  readonly port: number;
  /**
   * The connection was made to the address of a Service. So a pod may come back to itself through the gate, where cluster
   * policies judge it; what a pod sends to its own address never leaves it.
   */
  readonly throughService?: boolean;
}

/** `TCP 80` */
export const trafficText = ({ protocol, port }: Pick<Flow, 'protocol' | 'port'>): string =>
  protocol === 'other' ? 'traffic without ports' : `${protocol} ${port}`;

export interface DirectionVerdict {
  readonly allowed: boolean;
  /** NetworkPolicies isolate the subject in this direction, and decided. */
  readonly isolated: boolean;
  /** The tier that decided; undefined where none did, and the flow passes. */
  readonly tier?: Tier | 'NetworkPolicy';
  /** The policies that decided: of NetworkPolicies where allowed those with a matching rule, where denied those that isolate. */
  readonly by: readonly string[];
  /** The rules that decided. */
  readonly rules: readonly RuleRef[];
  /** Rules that passed it on to the tiers after theirs. */
  readonly passed: readonly RuleRef[];
  /** One sentence for a person. */
  readonly why: string;
}

export interface Verdict {
  readonly allowed: boolean;
  readonly egress: DirectionVerdict;
  readonly ingress: DirectionVerdict;
}
