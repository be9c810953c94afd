/** Keeps a node's ruleset up to date with the node's pods: the one way in which a table's rules change. */
import type { LiveRules } from '../policy/compile/live.ts';
import type { RulesIndex } from '../policy/compile/rules-index.ts';
import type { Ruleset } from '../policy/compile/ruleset.ts';
import type { RulesetChange } from '../policy/compile/ruleset-change.ts';
import { type Identity, identityIn } from '../tag/identity.ts';
import type { LocalPod, NodeState } from './node-state.ts';
import { emptyRuleset, identitiesOfNode, localPod } from './node-world.ts';

/** Where the rules of a table come from: the policies folder, or the API. */
export interface RulesetSource {
  /** From now on the node's pods and identities are these. */
  show(state: NodeState): void;
  /**
   * The change since the last call; undefined where nothing has changed.
   * @param namespaces whose policies are to be in force; absent: those of all
   */
  take(namespaces?: readonly string[]): RulesetChange | undefined;
  /** All of what the last `take` brought, with the pods of now. */
  taken(): Ruleset;
  /** All of it as of now, as if it were taken. */
  whole(): Ruleset;
  /** Index by which another process goes on from the last `take`; absent where none may. */
  index?(): RulesIndex;
}

/** The source for a node where policies do not judge. */
export const noRules: RulesetSource = {
  show() {},
  take: () => undefined,
  taken: () => emptyRuleset,
  whole: () => emptyRuleset,
};

export class NodeRules implements RulesetSource {
  readonly #rules: LiveRules;
  #shown: NodeState | undefined;
  /** By their text, which takes longer to read than to compare. */
  #identities = new Map<string, Identity>();

  constructor(rules: LiveRules) {
    this.#rules = rules;
  }

  /** The rules know the pods of this state already, and maybe more: what is shown next is told from it. */
  resume(state: NodeState): void {
    this.#shown = state;
  }

  /** Policy sees the pods of this node as they are plugged in, whatever the API says of their addresses. */
  show(state: NodeState): void {
    const before = this.#shown;
    if (state === before) return;
    const [pods, earlier] = [state.pods, before?.pods ?? {}];
    for (const [key, pod] of Object.entries(earlier))
      if (!isSameName(pods[key], pod)) this.#rules.deletePod(localPod(pod));
    for (const [key, pod] of Object.entries(pods)) if (earlier[key] !== pod) this.#rules.setPod(localPod(pod));
    if (state.tags !== before?.tags || state.leaving !== before.leaving) this.#showIdentities(state);
    if (state.refused !== before?.refused) this.#rules.setRefused(new Set(state.refused));
    this.#shown = state;
  }

  #showIdentities(state: NodeState): void {
    const known = this.#identities;
    this.#identities = new Map();
    const identityOf = (text: string): Identity => {
      const identity = known.get(text) ?? identityIn(text);
      this.#identities.set(text, identity);
      return identity;
    };
    this.#rules.setIdentities(identitiesOfNode(state, identityOf));
  }

  take(namespaces?: readonly string[]): RulesetChange | undefined {
    return this.#rules.take(namespaces);
  }

  taken(): Ruleset {
    return this.#rules.taken();
  }

  whole(): Ruleset {
    this.#rules.take();
    return this.#rules.ruleset();
  }
}

const isSameName = (a: LocalPod | undefined, b: LocalPod): boolean =>
  a !== undefined && a.namespace === b.namespace && a.name === b.name;
