/** The world of a node without a cluster, by which policies judge: the folder's manifests, and the pods that are plugged in. */

import { type CompileOptions, compile, type TaggedIdentity } from '../policy/compile/compile.ts';
import { Names } from '../policy/compile/names.ts';
import type { Ruleset } from '../policy/compile/ruleset.ts';
import { Cluster } from '../policy/evaluate/cluster.ts';
import type { Pod, World } from '../policy/model/model.ts';
import { identityIn } from '../tag/identity.ts';
import { identityOf, type LocalPod, type NodeState } from './node-state.ts';

/** A pod that is plugged in here as policy sees it. */
export const localPod = (pod: LocalPod): Pod => {
  const { namespace, labels, namedPorts } = identityOf(pod);
  return {
    namespace,
    name: pod.name,
    // A container with two interfaces has two attachments.
    uid: `${pod.containerID}/${pod.ifname}`,
    labels,
    namedPorts,
    addresses: pod.addresses,
    hostNetwork: false,
    finished: false,
    local: true,
  };
};

const nameOf = ({ namespace, name }: Pick<Pod, 'namespace' | 'name'>): string => `${namespace}/${name}`;

/**
 * A pod of this node replaces the manifest of the same pod, and manifests of other pods that claim one of its addresses. It
 * keeps the manifest's node: rules with `nodes` look at that node's labels, and a node always reaches its own pods.
 */
export function worldOfNode(manifests: World, { pods }: NodeState): World {
  const local = Object.values(pods);
  const names = new Set(local.map(nameOf));
  const addresses = new Set(local.flatMap(pod => pod.addresses));
  const isReplaced = (pod: Pod) => names.has(nameOf(pod)) || pod.addresses.some(address => addresses.has(address));
  const nodes = new Map(manifests.pods.map(pod => [nameOf(pod), pod.nodeName]));
  const present = local.map((pod): Pod => {
    const nodeName = nodes.get(nameOf(pod));
    return nodeName === undefined ? localPod(pod) : { ...localPod(pod), nodeName };
  });
  return { ...manifests, pods: [...manifests.pods.filter(pod => !isReplaced(pod)), ...present] };
}

/** Those that have pods, and those that pods are leaving. */
export function identitiesOfNode({ tags, leaving = [] }: NodeState, read = identityIn): TaggedIdentity[] {
  const left = leaving.map(pod => [pod.tag, { tag: pod.tag, identity: identityOf(pod) }] as const);
  const present = Object.entries(tags).map(([text, tag]) => [tag, { tag, identity: read(text) }] as const);
  return [...new Map([...left, ...present]).values()];
}

const compiled = new WeakMap<World, Map<string, CompileOptions>>();
/** Lists of refused policies, for the same manifests: the table that stands and the one that comes have one each. */
const MOST_COMPILED = 4;

/** The same for the same manifests, so that of two tables that are compared the second costs what is new in it. */
function optionsFor(manifests: World, refused: readonly string[]): CompileOptions {
  const byRefused = compiled.get(manifests) ?? new Map<string, CompileOptions>();
  const key = JSON.stringify(refused);
  const options = byRefused.get(key) ?? { names: new Names(), gates: new Map(), refused: new Set(refused) };
  // A tenant's policies that the kernel refuses come one by one.
  if (byRefused.size >= MOST_COMPILED) byRefused.clear();
  compiled.set(manifests, byRefused.set(key, options));
  return options;
}

/** The ruleset that the policies ask for on this node. */
export const rulesetOfNode = (manifests: World, state: NodeState): Ruleset =>
  compile(
    new Cluster(worldOfNode(manifests, state)),
    identitiesOfNode(state),
    optionsFor(manifests, state.refused ?? []),
  );

export const emptyRuleset: Ruleset = { sets: new Map(), chains: new Map(), tags: new Map() };
