/** Where the recorder of flows learns whose an address is, and which policies are in force at the moment. */

import { rulesetOfFolder } from '../enforce/folder-rules.ts';
import type { FolderTable } from '../enforce/folder-table.ts';
import type { FlowScene } from '../flows/attribution.ts';
import { stagedScene } from '../flows/staged.ts';
import { parseDenial } from '../gate/denial.ts';
import type { NodeState } from '../gate/node-state.ts';
import { localPod, worldOfNode } from '../gate/node-world.ts';
import { monotonic } from '../kernel/monotonic.ts';
import { manifestsOf } from '../nodestore/policy-folder.ts';
import { localAddresses } from '../pod/here.ts';
import { denierOf, type Ruleset } from '../policy/compile/ruleset.ts';
import { Cluster } from '../policy/evaluate/cluster.ts';
import { namespaceOfRef, type Pod, policyRef } from '../policy/model/model.ts';
import { selects } from '../policy/model/selector.ts';
import type { NodeGate } from './node-gate.ts';
import type { NodeKernel } from './node-kernel.ts';

export interface FlowSource {
  /** Another value once `scene` or `chains` may give something else. Asked many times a second. */
  readonly stamp: () => unknown;
  readonly scene: () => FlowScene;
  readonly chains: () => Ruleset['chains'];
}

/** Milliseconds for which the node's own addresses are believed. */
const BELIEVED = 5_000;

/** A list that is dear to get, got anew when it is old. */
function believed<T>(get: () => T): () => T {
  let known: { readonly value: T; readonly at: number } | undefined;
  return () => {
    const now = monotonic();
    if (!known || now - known.at > BELIEVED) known = { value: get(), at: now };
    return known.value;
  };
}

const podsByAddress = ({ pods }: Pick<NodeState, 'pods'>): Map<string, Pod> =>
  new Map(
    Object.values(pods).flatMap(each => {
      const pod = localPod(each);
      return pod.addresses.map(address => [address, pod] as const);
    }),
  );

/** Source of a node without a cluster: its state file, and by default the manifests that were last applied. */
export function folderSource(
  table: FolderTable,
  addresses: () => ReadonlySet<string>,
  kept = () => table.store.readApplied(),
): FlowSource {
  const own = believed(addresses);
  return {
    stamp: () => table.store.stamp(),
    scene: () => {
      const state = table.store.read()?.state;
      if (!state) return { cluster: new Cluster(), pods: new Map(), own: own(), enforceEgressToNode: false };
      const { world } = manifestsOf(kept());
      const cluster = new Cluster(worldOfNode(world, state));
      return {
        ...{ cluster, staged: stagedScene(cluster, world.staged) },
        pods: podsByAddress(state),
        own: own(),
        enforceEgressToNode: state.settings.enforceEgressToNode,
      };
    },
    chains: () => {
      const state = table.store.read()?.state;
      return state ? rulesetOfFolder(kept(), state).chains : new Map();
    },
  };
}

/**
 * Source of a node of a cluster: the pods that are plugged in, and the objects that the API has told of.
 * @param heard how often the API has told of something
 */
export function gateSource({ table, rules, staged }: NodeGate, { host }: NodeKernel, heard: () => number): FlowSource {
  const own = believed(() => localAddresses(host));
  let [known, version] = [table.state, 0];
  return {
    stamp: () => {
      if (table.state !== known) version++;
      known = table.state;
      return `${heard()} ${version}`;
    },
    scene: () => {
      const { enforceEgressToNode } = table.state.settings;
      return {
        ...{ cluster: rules.cluster, staged: stagedScene(rules.cluster, staged.all) },
        ...{ pods: podsByAddress(table.state), own: own(), enforceEgressToNode },
      };
    },
    chains: () => rules.chains,
  };
}

/** Policies of a chain or a rule of it, which pods with the same rules share: those that isolate this pod, where it is known. */
export function policiesOfChain(
  chains: Ruleset['chains'],
  scene: FlowScene,
  denial: string,
  subject?: string,
): readonly string[] {
  const all = denierOf(chains, parseDenial(denial))?.policies ?? [];
  const pod = subject === undefined ? undefined : scene.pods.get(subject);
  if (!pod) return all;
  const own = new Map([...scene.cluster.policiesIn(pod.namespace)].map(policy => [policyRef(policy), policy]));
  const isolates = (ref: string): boolean => {
    const policy = own.get(ref);
    return policy ? selects(policy.subject, pod.labels) : namespaceOfRef(ref) === undefined;
  };
  return all.filter(isolates);
}
