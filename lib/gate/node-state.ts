/**
 * The state that one node's table is made from: its owner, the pods that are plugged in, the tag of each identity. All of it can
 * be found again from the kernel and the attachments' records; it is written down so that a call need not look for it.
 */
import { type Identity, identityKey, type NamedPort } from '../tag/identity.ts';
import { firstIdentity, lastIdentity } from '../tag/tag.ts';
import { counted, noCounts, type PodCounts } from './pod-counts.ts';
import type { GateSettings } from './settings.ts';

/** One network namespace has one: an ADD that disagrees is refused. */
export interface Owner {
  /** As in the config: `inline`, `agent`, `none` or `exec:<path>`. */
  readonly enforcer: string;
  readonly stateDir: string;
  readonly policies: string;
}

export interface HostPort {
  readonly hostPort: number;
  readonly containerPort: number;
  readonly protocol: 'tcp' | 'udp' | 'sctp';
  /** Canonical text; absent: every address of the node. */
  readonly hostIP?: string;
}

/** Plain JSON, since it stands in the attachment's record as well. */
export interface LocalPod {
  readonly network: string;
  readonly containerID: string;
  readonly ifname: string;
  /** Name that the host end was made with; root may rename it. */
  readonly link: string;
  /** Index of the host end, which no program can change; absent in records of older versions. */
  readonly ifindex?: number;
  readonly namespace: string;
  readonly name: string;
  /** As its runtime tells it, where it does. */
  readonly uid?: string;
  /** All sources taken together; `given` keeps those apart that the folder's Pod manifest comes between. */
  readonly labels: Readonly<Record<string, string>>;
  readonly given: {
    readonly config: Readonly<Record<string, string>>;
    readonly call: Readonly<Record<string, string>>;
  };
  readonly namedPorts: readonly NamedPort[];
  /** Canonical text. */
  readonly addresses: readonly string[];
  /** Subnets that are masqueraded, and what they reach under their own address. */
  readonly masquerade?: { readonly from: readonly string[]; readonly except: readonly string[] };
  readonly hostPorts: readonly HostPort[];
  /** Its interface's group once it is judged; quarantine until then. */
  readonly tag: number;
}

export const podKey = ({
  network,
  containerID,
  ifname,
}: Pick<LocalPod, 'network' | 'containerID' | 'ifname'>): string => `${network}/${containerID}/${ifname}`;

export const identityOf = ({ namespace, labels, namedPorts }: Omit<LocalPod, 'tag'>): Identity => ({
  namespace,
  labels: new Map(Object.entries(labels)),
  namedPorts,
});

export interface NodeState {
  readonly owner: Owner;
  readonly settings: GateSettings;
  /** By `podKey`: all of them, or those that a change may touch; `tags` and `counts` are of all. */
  readonly pods: Readonly<Record<string, LocalPod>>;
  /** Tag by `identityKey`: those in use. */
  readonly tags: Readonly<Record<string, number>>;
  readonly counts: PodCounts;
  /** Number from which the search for a free one begins; the last one that was allocated is right before it. */
  readonly next: number;
  /** `Kind/namespace/name` of policies that the kernel refused: they isolate the pods that they select, and allow nothing. */
  readonly refused?: readonly string[];
  /** Pods as they were before they changed their identity, while their links still carry the old tag. */
  readonly leaving?: readonly LocalPod[];
  /** Pod ranges of the cluster, as the agent knows them: reached by pods under their own address. */
  readonly podCidrs?: readonly string[];
  /**
   * Set where connections may exist that this state forbids, and cleared once they are cut. `everywhere`: they may be of any
   * pod, not only of those that the last change concerned.
   */
  readonly uncut?: true | 'everywhere';
}

export const emptyNode = (owner: Owner, settings: GateSettings): NodeState => ({
  owner,
  settings,
  pods: {},
  tags: {},
  counts: noCounts,
  next: firstIdentity,
});

/** No tag is left: 65,533 identities are in use, or links carry the other numbers. */
export class TagsExhausted extends Error {
  override readonly name = 'TagsExhausted';
}

/** Whether some link of the node has the number as its group, whatever state and records say of it. */
export type IsCarried = (tag: number) => boolean;

const MOST_IDENTITIES = lastIdentity - firstIdentity + 1;

/** Numbers that no identity has, once round from `next`, as the kernel finds process IDs. */
function* freeNumbers({ next, tags }: NodeState): Generator<number> {
  const used = new Set(Object.values(tags));
  for (let i = 0; i < MOST_IDENTITIES; i++) {
    const tag = firstIdentity + ((next - firstIdentity + i) % MOST_IDENTITIES);
    if (!used.has(tag)) yield tag;
  }
}

/**
 * The identity's tag, allocated where it is new: never a hash, so two label sets never share one. A freed number is reached
 * when the search has gone round, and is never given away while a link carries it: a lost state does not know all pods that
 * are open.
 */
function tagFor(state: NodeState, key: string, isCarried: IsCarried): { tag: number; state: NodeState } {
  const known = state.tags[key];
  if (known !== undefined) return { tag: known, state };
  for (const tag of freeNumbers(state)) {
    if (isCarried(tag)) continue;
    return { tag, state: { ...state, next: tag + 1, tags: { ...state.tags, [key]: tag } } };
  }
  throw new TagsExhausted('Cannot tag the pod: all 65,533 identities of this node are in use');
}

/** The node with the pod plugged in, in place of an earlier one of the same key. */
export function withPod(
  state: NodeState,
  pod: Omit<LocalPod, 'tag'>,
  isCarried: IsCarried,
): { readonly state: NodeState; readonly pod: LocalPod } {
  const cleared = withoutPod(state, podKey(pod));
  const { tag, state: tagged } = tagFor(cleared, identityKey(identityOf(pod)), isCarried);
  const judged = { ...pod, tag };
  const pods = { ...tagged.pods, [podKey(pod)]: judged };
  return { pod: judged, state: { ...tagged, pods, counts: counted(tagged.counts, judged, 1) } };
}

/** The node without the pod; its tag is free again where it was the last of its identity. */
export function withoutPod(state: NodeState, key: string): NodeState {
  const gone = state.pods[key];
  if (!gone) return state;
  const { [key]: _, ...pods } = state.pods;
  const counts = counted(state.counts, gone, -1);
  if (counts.tags[gone.tag] !== undefined) return { ...state, pods, counts };
  const { [identityKey(identityOf(gone))]: _tag, ...tags } = state.tags;
  return { ...state, pods, tags, counts };
}

/** The part of the folder's Pod manifest that the gate needs. */
export interface PodManifest {
  readonly namespace: string;
  readonly name: string;
  readonly labels: ReadonlyMap<string, string>;
  readonly namedPorts: readonly NamedPort[];
}

/** The manifest's labels lie over the config's and under the call's own. */
export function labelled<T extends Pick<LocalPod, 'given'>>(
  pod: T,
  manifest: PodManifest | undefined,
): T & Pick<LocalPod, 'labels' | 'namedPorts'> {
  const { config, call } = pod.given;
  const labels = { ...config, ...Object.fromEntries(manifest?.labels ?? []), ...call };
  return { ...pod, labels, namedPorts: manifest?.namedPorts ?? [] };
}

/** The node with each pod's identity by the manifests of now; pods whose identity changes get another tag. */
export function relabelled(state: NodeState, manifests: readonly PodManifest[], isCarried: IsCarried): NodeState {
  const byName = new Map(manifests.map(manifest => [`${manifest.namespace}/${manifest.name}`, manifest]));
  return Object.values(state.pods).reduce((current, pod) => {
    const now = labelled(pod, byName.get(`${pod.namespace}/${pod.name}`));
    return identityKey(identityOf(now)) === identityKey(identityOf(pod))
      ? current
      : withPod(current, now, isCarried).state;
  }, state);
}

/** Where nothing was allocated yet, the state was lost: the highest number that was found is the best guess at the last one. */
const nextAfter = ({ next }: NodeState, found: ReadonlySet<number>): number =>
  next === firstIdentity ? [...found].reduce((highest, tag) => Math.max(highest, tag + 1), next) : next;

/**
 * The node with pods that it did not know of, each with the tag that its link carries. A pod whose tag is another
 * identity's, or whose identity has another tag, gets that of its identity: its link is to be tagged anew.
 */
export function joined(state: NodeState, found: Readonly<Record<string, LocalPod>>, isCarried: IsCarried): NodeState {
  const pods = { ...state.pods };
  const tags = { ...state.tags };
  const used = new Set(Object.values(tags));
  let { counts } = state;
  const displaced: LocalPod[] = [];
  for (const [key, pod] of Object.entries(found)) {
    if (pods[key]) continue;
    const identity = identityKey(identityOf(pod));
    if (tags[identity] === undefined && used.has(pod.tag)) {
      displaced.push(pod);
      continue;
    }
    const tag = tags[identity] ?? pod.tag;
    tags[identity] = tag;
    used.add(tag);
    const joining = tag === pod.tag ? pod : { ...pod, tag };
    pods[key] = joining;
    counts = counted(counts, joining, 1);
  }
  const kept: NodeState = { ...state, pods, tags, counts, next: nextAfter(state, used) };
  return displaced.reduce((current, pod) => withPod(current, pod, isCarried).state, kept);
}
