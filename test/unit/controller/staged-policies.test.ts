/**
 * Staged policies of the API: they are in no ruleset, whatever they were before, and
 * commands and flows get them from the agent.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { OwnPods } from '../../../lib/controller/own-pods.ts';
import { StagedPolicies } from '../../../lib/controller/staged-policies.ts';
import { sinksOf } from '../../../lib/controller/watch-sinks.ts';
import type { LiveTable } from '../../../lib/enforce/live-table.ts';
import { compile } from '../../../lib/policy/compile/compile.ts';
import { LiveRules } from '../../../lib/policy/compile/live.ts';
import { Cluster } from '../../../lib/policy/evaluate/cluster.ts';
import { type AnyPolicy, policyRef } from '../../../lib/policy/model/model.ts';
import { localPods, manifests, tagged, worldFrom } from '../../support/worlds.ts';

type How = 'in force' | 'staged' | 'gone';

const how = fc.constantFrom<How>('in force', 'staged', 'gone');

/** Says to the sinks what becomes of a policy, as a fold of events does. */
class Told {
  readonly policies = new Map<string, { readonly policy: AnyPolicy; readonly isStaged: boolean }>();
  readonly staged = new StagedPolicies();
  readonly #sinks;

  constructor(rules: LiveRules) {
    // Nothing is refused and no pod is told of here.
    const [table, own] = [{ retryRefused: () => {} } as LiveTable, { hear: () => {} } as unknown as OwnPods];
    this.#sinks = sinksOf({ rules, table, own, staged: this.staged, nodesChanged: () => {} });
  }

  become(policy: AnyPolicy, now: How): void {
    const ref = policyRef(policy);
    const before = this.policies.get(ref);
    const after = now === 'gone' ? undefined : { policy, isStaged: now === 'staged' };
    if (after) this.policies.set(ref, after);
    else this.policies.delete(ref);
    if (!before && !after) return;
    const { policies, clusterPolicies } = this.#sinks;
    if ('tier' in policy) clusterPolicies({ before, after } as Parameters<typeof clusterPolicies>[0]);
    else policies({ before: flat(before), after: flat(after) } as Parameters<typeof policies>[0]);
  }
}

const flat = (each: { readonly policy: AnyPolicy; readonly isStaged: boolean } | undefined) =>
  each && { ...each.policy, ...(each.isStaged ? { isStaged: true } : {}) };

test('through any changes from staged to in force and back, the ruleset is that of those in force, and the staged ones are known', () => {
  let most = 0;
  fc.assert(
    fc.property(
      manifests({ policies: 4, clusterPolicies: 3 }).map(list => worldFrom(list)),
      fc.array(fc.tuple(fc.nat(), how), { minLength: 5, maxLength: 30 }),
      (world, steps) => {
        const all = [...world.policies, ...(world.clusterPolicies ?? [])];
        const { identities } = tagged(localPods(world));
        const rules = new LiveRules();
        for (const [name, labels] of world.namespaces) rules.setNamespace(name, labels);
        for (const pod of world.pods) rules.setPod(pod);
        for (const node of world.nodes ?? []) rules.setNode(node);
        rules.setIdentities(identities);
        const told = new Told(rules);
        for (const [at, now] of steps) told.become(all[at % all.length]!, now);
        const standing = [...told.policies.values()];
        const refs = (isStaged: boolean) =>
          standing.filter(each => each.isStaged === isStaged).map(({ policy }) => policyRef(policy));
        const inForce = new Set(refs(false));
        const without = new Cluster({
          ...world,
          policies: world.policies.filter(policy => inForce.has(policyRef(policy))),
          clusterPolicies: (world.clusterPolicies ?? []).filter(policy => inForce.has(policyRef(policy))),
        });
        assert.deepEqual(rules.ruleset(), compile(without, identities));
        const { policies, clusterPolicies } = told.staged.all;
        most = Math.max(most, policies.length + clusterPolicies.length);
        assert.deepEqual([...policies, ...clusterPolicies].map(policyRef).sort(), refs(true).sort());
      },
    ),
    { numRuns: 200 },
  );
  assert.ok(most >= 3, `${most}`);
});
