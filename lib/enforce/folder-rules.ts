/** The rules of a policies folder, as a source that follows the node's pods and, manifest by manifest, the folder. */

import { NodeRules, type RulesetSource } from '../gate/node-rules.ts';
import type { NodeState } from '../gate/node-state.ts';
import { emptyRuleset, rulesetOfNode } from '../gate/node-world.ts';
import { isJudged } from '../gate/settings.ts';
import { type Kept, manifestsOf, worldAbout } from '../nodestore/policy-folder.ts';
import { LiveRules } from '../policy/compile/live.ts';
import type { RulesIndex } from '../policy/compile/rules-index.ts';
import type { Ruleset } from '../policy/compile/ruleset.ts';
import type { RulesetChange } from '../policy/compile/ruleset-change.ts';
import type { Pod } from '../policy/model/model.ts';
import { WholeNeeded } from './whole-needed.ts';

export interface FolderRulesOptions {
  readonly kept: Kept;
  /** The state that the table is for, whole or in part. */
  readonly state: NodeState;
  /** Rules index of that state's table. */
  readonly index?: RulesIndex | undefined;
  /** Whether the state has all pods. A source that does not know all of them throws `WholeNeeded` where it matters. */
  readonly isWhole: boolean;
}

type PodNames = Pick<Pod, 'namespace' | 'name' | 'addresses'>;

const nameOf = ({ namespace, name }: PodNames): string => `${namespace}/${name}`;

/** A pod that lives here wins over a manifest of its name, and over manifests that have one of its addresses. */
class ManifestPods {
  readonly #byKey = new Map<string, Set<Pod>>();

  constructor(pods: readonly Pod[]) {
    for (const pod of pods)
      for (const key of [nameOf(pod), ...pod.addresses])
        this.#byKey.set(key, (this.#byKey.get(key) ?? new Set()).add(pod));
  }

  get all(): ReadonlySet<Pod> {
    return new Set([...this.#byKey.values()].flatMap(pods => [...pods]));
  }

  /** Those that one of these takes the place of. */
  hiddenBy(pods: Iterable<PodNames>): ReadonlySet<Pod> {
    if (this.#byKey.size === 0) return new Set();
    const keys = [...pods].flatMap(pod => [nameOf(pod), ...pod.addresses]);
    return new Set(keys.flatMap(key => [...(this.#byKey.get(key) ?? [])]));
  }
}

/** The ruleset that the manifests ask for on the whole node. */
export const rulesetOfFolder = (kept: Kept, state: NodeState): Ruleset =>
  isJudged(state.settings) ? rulesetOfNode(manifestsOf(kept).world, state) : emptyRuleset;

export class FolderRules implements RulesetSource {
  /** All pods of the node were shown. */
  readonly #knowsAll: boolean;
  /** And stand in the state. */
  #isWhole: boolean;
  #kept: Kept;
  #state: NodeState;
  /** The index that it goes on from: it cannot tell its sets of blocks, which are known by name alone. */
  #index: RulesIndex | undefined;
  /** It knows of the rules only the sets: enough for a pod whose identity has its gate. */
  #isOutline: boolean;
  #manifests: ManifestPods;
  #hidden: ReadonlySet<Pod> = new Set();
  #live: LiveRules;
  #rules: NodeRules;

  constructor({ kept, state, index, isWhole }: FolderRulesOptions) {
    this.#knowsAll = isWhole;
    this.#isWhole = isWhole;
    [this.#kept, this.#state] = [kept, state];
    this.#index = index;
    this.#isOutline = index !== undefined && !isWhole;
    [this.#manifests, this.#live, this.#rules] = this.#open();
  }

  /** Starts from the rules that the table holds. */
  #open(): [ManifestPods, LiveRules, NodeRules] {
    const gates = this.#isOutline ? undefined : this.#index?.gates();
    if (!gates && !this.#isOutline) this.#index = undefined;
    const { namespaces, pods, nodes = [], clusterPolicies = [] } = worldAbout(this.#kept, []);
    const live = new LiveRules(
      {},
      {
        ...(gates ? { known: { specs: this.#index!.specs, gates } } : {}),
        policiesOf: namespace =>
          worldAbout(this.#kept, [namespace]).policies.filter(policy => policy.namespace === namespace),
        complete: () => {
          if (!this.#knowsAll) throw new WholeNeeded();
        },
      },
    );
    const manifests = new ManifestPods(pods);
    const rules = new NodeRules(live);
    this.#hidden = manifests.hiddenBy(Object.values(this.#state.pods));
    const { cluster } = live;
    for (const policy of clusterPolicies) cluster.setClusterPolicy(policy);
    for (const [name, labels] of namespaces) cluster.setNamespace(name, labels);
    for (const node of nodes) cluster.setNode(node);
    for (const pod of manifests.all) if (!this.#hidden.has(pod)) cluster.setPod(pod);
    rules.show(this.#isOutline ? { ...this.#state, tags: {} } : this.#state);
    rules.resume(this.#state);
    live.resume(this.#isOutline ? this.#index : undefined);
    return [manifests, live, rules];
  }

  /** These rules are those of this state's table. */
  resume(state: NodeState, isWhole: boolean): void {
    [this.#state, this.#isWhole] = [state, isWhole];
    this.#rules.resume(state);
  }

  /** Replaces the manifests by those that the folder holds now. */
  turnTo(kept: Kept): void {
    if (!this.#isWhole) throw new WholeNeeded();
    const before = worldAbout(this.#kept, []);
    this.#kept = kept;
    const { namespaces, pods, nodes = [], clusterPolicies = [] } = worldAbout(kept, []);
    for (const policy of before.clusterPolicies ?? []) this.#live.deleteClusterPolicy(policy);
    for (const policy of clusterPolicies) this.#live.setClusterPolicy(policy);
    for (const name of before.namespaces.keys()) if (!namespaces.has(name)) this.#live.deleteNamespace(name);
    for (const [name, labels] of namespaces) this.#live.setNamespace(name, labels);
    for (const { name } of before.nodes ?? []) this.#live.deleteNode(name);
    for (const node of nodes) this.#live.setNode(node);
    for (const pod of this.#manifests.all) if (!this.#hidden.has(pod)) this.#live.deletePod(pod);
    this.#manifests = new ManifestPods(pods);
    this.#hidden = this.#manifests.hiddenBy(Object.values(this.#state.pods));
    for (const pod of this.#manifests.all) if (!this.#hidden.has(pod)) this.#live.setPod(pod);
    this.#live.forgetPolicies();
  }

  show(state: NodeState): void {
    const before = this.#state;
    const isElements = (['tags', 'leaving', 'refused'] as const).every(key => state[key] === before[key]);
    if (this.#isOutline && !isElements) this.#reopen();
    this.#state = state;
    if (state.pods !== before.pods) this.#hide(before, state);
    this.#rules.show(state);
  }

  #hide({ pods: before }: NodeState, { pods }: NodeState): void {
    const changed = [
      ...Object.entries(before).flatMap(([key, pod]) => (pods[key] === pod ? [] : [pod])),
      ...Object.entries(pods).flatMap(([key, pod]) => (before[key] === pod ? [] : [pod])),
    ];
    const touched = this.#manifests.hiddenBy(changed);
    if (touched.size === 0) return;
    if (!this.#isWhole) throw new WholeNeeded();
    const hidden = this.#manifests.hiddenBy(Object.values(pods));
    for (const pod of touched) {
      if (hidden.has(pod) && !this.#hidden.has(pod)) this.#live.deletePod(pod);
      if (!hidden.has(pod) && this.#hidden.has(pod)) this.#live.setPod(pod);
    }
    this.#hidden = hidden;
  }

  take(namespaces?: readonly string[]): RulesetChange | undefined {
    return this.#rules.take(namespaces);
  }

  /** @throws WholeNeeded */
  taken(): Ruleset {
    this.#complete();
    return this.#rules.taken();
  }

  /** @throws WholeNeeded */
  whole(): Ruleset {
    this.#complete();
    return this.#rules.whole();
  }

  #complete(): void {
    if (!this.#isWhole) throw new WholeNeeded();
    if (!this.#index) return;
    this.#index = undefined;
    this.#reopen();
  }

  /** Starts once more, from all that the index has; without one, from the manifests. */
  #reopen(): void {
    this.#isOutline = false;
    [this.#manifests, this.#live, this.#rules] = this.#open();
  }

  index(): RulesIndex {
    return this.#live.index();
  }
}
