/**
 * The kinds of those API groups in which policies are written, or what policies speak of. A kind that its group does not have
 * is a slip of the pen, and may be the policy that closes something; the kinds of all other groups mean nothing to policy.
 * @see https://kubernetes.io/docs/reference/generated/kubernetes-api/v1.34/
 */
import { meantKey } from '../../cni/spelling.ts';
import { clusterKinds } from '../model/cluster-policy.ts';

const core = [
  ...['Binding', 'ComponentStatus', 'ConfigMap', 'Endpoints', 'Event', 'LimitRange', 'Namespace', 'Node'],
  ...['PersistentVolume', 'PersistentVolumeClaim', 'Pod', 'PodTemplate', 'ReplicationController', 'ResourceQuota'],
  ...['Secret', 'Service', 'ServiceAccount', 'Status', 'RangeAllocation', 'SerializedReference'],
];

const extensions = [
  ...['DaemonSet', 'Deployment', 'Ingress', 'NetworkPolicy', 'PodSecurityPolicy', 'ReplicaSet', 'Scale'],
  ...['HorizontalPodAutoscaler', 'Job', 'ThirdPartyResource'],
];

const groups: Readonly<Record<string, readonly string[]>> = {
  '': core,
  'networking.k8s.io': ['ClusterCIDR', 'Ingress', 'IngressClass', 'IPAddress', 'NetworkPolicy', 'ServiceCIDR'],
  'policy.networking.k8s.io': clusterKinds,
  extensions,
  'net.alpha.kubernetes.io': ['NetworkPolicy'],
};

/** `networking.k8s.io/v1` → `networking.k8s.io`; empty for the core group's `v1`. */
export const groupOf = (apiVersion: string): string => (apiVersion.includes('/') ? apiVersion.split('/')[0]! : '');

const sayPolicy = (kind: string): boolean => /network-?polic(y|ies)$/i.test(kind);

/** A group that belongs to Kubernetes itself, or that was meant to. */
const isKubernetes = (group: string): boolean =>
  /(^|\.)(k8s|kubernetes)\.io$/i.test(group) || meantKey(group, Object.keys(groups).filter(Boolean)) !== undefined;

function meantKind(kind: string, known: readonly string[]): string | undefined {
  const singular = kind.replace(/ies$/i, 'y').replace(/s$/i, '');
  const folded = [kind, singular].map(word => word.toLowerCase());
  return known.find(each => folded.includes(each.toLowerCase())) ?? meantKey(singular, known);
}

export type KindStanding =
  /** `known`: its group has the kind. `foreign`: tollgate does not know the kinds of its group. */
  | { readonly is: 'known' | 'foreign' }
  /** A policy that tollgate does not enforce; another program may. */
  | { readonly is: 'unenforced'; readonly why: string }
  /** The API group has no such kind. */
  | { readonly is: 'unknown'; readonly at: 'kind' | 'apiVersion'; readonly why: string };

const unknownVersion = (why: string): KindStanding => ({ is: 'unknown', at: 'apiVersion', why });

/** Whether policy knows, ignores, does not enforce or refuses the kind. */
export function standingOf(apiVersion: string, kind: string): KindStanding {
  const group = groupOf(apiVersion);
  const known = groups[group];
  if (known && !known.includes(kind)) {
    const meant = meantKind(kind, known);
    const hint = meant === undefined ? 'see what it should be' : `write ${meant}`;
    return { is: 'unknown', at: 'kind', why: `${JSON.stringify(kind)} is no kind of ${apiVersion}: ${hint}` };
  }
  if (group === '' && apiVersion !== 'v1')
    return unknownVersion(`${JSON.stringify(apiVersion)} is no version of a ${kind}: write v1`);
  if (known) return { is: 'known' };
  if (!sayPolicy(kind)) return { is: 'foreign' };
  if (isKubernetes(group))
    return unknownVersion(
      `${JSON.stringify(apiVersion)} is no API of Kubernetes that has policies: write networking.k8s.io/v1`,
    );
  return { is: 'unenforced', why: `${JSON.stringify(apiVersion)} is another project's policy and is not enforced` };
}
