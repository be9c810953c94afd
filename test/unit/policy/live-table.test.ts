/**
 * Rules that follow the cluster change by change, carried over to a whole table: it is
 * the one that a compiler of the whole makes.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { toNft } from '../../../lib/gate/ruleset-to-nft.ts';
import { diff } from '../../../lib/nft/diff.ts';
import type { Element, NamedSet, NftVerdict, Table } from '../../../lib/nft/model.ts';
import { compile, type TaggedIdentity } from '../../../lib/policy/compile/compile.ts';
import { LiveRules } from '../../../lib/policy/compile/live.ts';
import type { Ruleset } from '../../../lib/policy/compile/ruleset.ts';
import { Cluster } from '../../../lib/policy/evaluate/cluster.ts';
import { type Labels, type NetworkPolicy, type Pod, policyRef, type World } from '../../../lib/policy/model/model.ts';
import { identityKey } from '../../../lib/tag/identity.ts';
import { apply } from '../../support/applied-nft.ts';
import { localPods, manifests, tagged, worldFrom } from '../../support/worlds.ts';

/** One thing that happens to the cluster, to the node, or to who listens. */
type Step =
  | { readonly kind: 'set pod' | 'delete pod'; readonly pod: Pod }
  | { readonly kind: 'set policy' | 'delete policy'; readonly policy: NetworkPolicy }
  | { readonly kind: 'set namespace'; readonly name: string; readonly labels: Labels }
  | { readonly kind: 'delete namespace'; readonly name: string }
  | { readonly kind: 'identities' }
  | { readonly kind: 'refused'; readonly policies: readonly string[] }
  | { readonly kind: 'look' }
  | { readonly kind: 'take' }
  | { readonly kind: 'take of'; readonly namespace: string };

/** Objects of one random world happen to another one: what they say of pods, policies and namespaces of one name differs. */
const stepsOf = ({ pods, policies, namespaces }: World): fc.Arbitrary<Step> => {
  const pick = <T>(items: readonly T[], step: (item: T) => readonly Step[]): fc.Arbitrary<Step>[] =>
    items.length === 0 ? [] : [fc.constantFrom(...items.flatMap(step))];
  return fc.oneof(
    ...pick(pods, pod => [
      { kind: 'set pod', pod },
      { kind: 'set pod', pod: { ...pod, namespace: pod.namespace === 'a' ? 'b' : 'a', addresses: ['10.0.0.1'] } },
      { kind: 'delete pod', pod },
    ]),
    ...pick(policies, policy => [
      { kind: 'set policy', policy },
      { kind: 'delete policy', policy },
      { kind: 'refused', policies: [policyRef(policy)] },
    ]),
    ...pick([...namespaces], ([name, labels]) => [
      { kind: 'set namespace', name, labels },
      { kind: 'delete namespace', name },
    ]),
    fc.constant<Step>({ kind: 'refused', policies: [] }),
    fc.constant<Step>({ kind: 'identities' }),
    fc.constant<Step>({ kind: 'look' }),
    { weight: 3, arbitrary: fc.constant<Step>({ kind: 'take' }) },
    { weight: 3, arbitrary: fc.constantFrom('a', 'b').map((namespace): Step => ({ kind: 'take of', namespace })) },
  );
};

const history = fc
  .tuple(manifests().map(worldFrom), manifests().map(worldFrom))
  .chain(([first, second]) =>
    fc
      .array(fc.oneof(stepsOf(first), stepsOf(second)), { minLength: 5, maxLength: 40, size: 'max' })
      .map(steps => ({ first, steps })),
  );

/** What there is, as plain lists in the order in which it came. */
class Truth {
  readonly #pods = new Map<string, Pod>();
  readonly #policies = new Map<string, NetworkPolicy>();
  readonly #namespaces = new Map<string, Labels>();
  identities: readonly TaggedIdentity[] = [];
  refused: ReadonlySet<string> = new Set();

  take(step: Step): void {
    if (step.kind === 'set pod' || step.kind === 'delete pod') {
      const key = `${step.pod.namespace}/${step.pod.name}`;
      this.#pods.delete(key);
      if (step.kind === 'set pod') this.#pods.set(key, step.pod);
    } else if (step.kind === 'set policy') this.#policies.set(policyRef(step.policy), step.policy);
    else if (step.kind === 'delete policy') this.#policies.delete(policyRef(step.policy));
    else if (step.kind === 'set namespace') this.#namespaces.set(step.name, step.labels);
    else if (step.kind === 'delete namespace') this.#namespaces.delete(step.name);
    else if (step.kind === 'identities') this.identities = tagged(localPods(this.world)).identities;
    else if (step.kind === 'refused') this.refused = new Set(step.policies);
  }

  get world(): World {
    return { pods: [...this.#pods.values()], policies: [...this.#policies.values()], namespaces: this.#namespaces };
  }

  ruleset(): Ruleset {
    return compile(new Cluster(this.world), this.identities, { refused: this.refused });
  }
}

function happen(rules: LiveRules, truth: Truth, step: Step): void {
  truth.take(step);
  if (step.kind === 'set pod') rules.setPod(step.pod);
  else if (step.kind === 'delete pod') rules.deletePod(step.pod);
  else if (step.kind === 'set policy') rules.setPolicy(step.policy);
  else if (step.kind === 'delete policy') rules.deletePolicy(step.policy);
  else if (step.kind === 'set namespace') rules.setNamespace(step.name, step.labels);
  else if (step.kind === 'delete namespace') rules.deleteNamespace(step.name);
  else if (step.kind === 'identities') rules.setIdentities(truth.identities);
  else if (step.kind === 'refused') rules.setRefused(truth.refused);
}

const startOf = ({ pods, policies, namespaces }: World): readonly Step[] => [
  ...[...namespaces].map(([name, labels]): Step => ({ kind: 'set namespace', name, labels })),
  ...policies.map((policy): Step => ({ kind: 'set policy', policy })),
  ...pods.map((pod): Step => ({ kind: 'set pod', pod })),
  { kind: 'identities' },
];

const maps = ['egress_by_tag', 'ingress_by_tag'] as const;

/** The ruleset as a table of its own, as the gate has it. */
function tableOf(ruleset: Ruleset): Table {
  const { chains, sets, counters, elements } = toNft(ruleset, 7467);
  const byTag = maps.map(
    (name): NamedSet => ({ name, key: ['devgroup'], value: 'verdict', elements: elements[name]! }),
  );
  return { family: 'inet', name: 'live', chains, sets: [...byTag, ...sets], counters };
}

/** Counters of tags and policies stay until somebody clears them away: they are not compared. */
const operationsBetween = (have: Table, want: Table): readonly unknown[] =>
  diff(have, want).operations.filter(({ object }) => object !== 'counter');

const isGoto = (value: Element['value']): value is Extract<NftVerdict, { readonly kind: 'goto' }> =>
  typeof value === 'object' && 'kind' in value && value.kind === 'goto';

/** What of a table judges the pods with these tags: their entries, the chains that these go to, and the sets of those. */
function judging({ sets, chains, ...table }: Table, tags: ReadonlySet<number>): Table {
  const entries = sets
    .filter(({ name }) => maps.some(map => map === name))
    .map(map => ({ ...map, elements: map.elements.filter(({ key }) => tags.has(key[0] as number)) }));
  const gates = new Set(
    entries.flatMap(({ elements }) => elements.flatMap(({ value }) => (isGoto(value) ? [value.chain] : []))),
  );
  const own = chains.filter(({ name }) => gates.has(name)).map(({ comment: _, ...chain }) => chain);
  const looked = JSON.stringify(own.map(({ rules }) => rules));
  return { ...table, chains: own, sets: [...entries, ...sets.filter(({ name }) => looked.includes(`"${name}"`))] };
}

test('what is taken of one namespace judges its pods, and identities that are new, by what everything is now', () => {
  let waited = 0;
  fc.assert(
    fc.property(history, ({ first, steps }) => {
      const rules = new LiveRules();
      const truth = new Truth();
      const known = new Set<string>();
      let kernel = tableOf(rules.ruleset());
      const take = (namespaces?: readonly string[]): void => {
        const change = rules.take(namespaces);
        if (change) kernel = apply(kernel, diff(tableOf(change.before), tableOf(change.after)))!;
        if (rules.unsettled.length > 0) waited++;
        const isWhole = namespaces === undefined;
        const isJudged = ({ identity }: TaggedIdentity): boolean =>
          isWhole || namespaces.includes(identity.namespace) || !known.has(identityKey(identity));
        const judged = truth.identities.filter(isJudged);
        for (const { identity } of truth.identities) known.add(identityKey(identity));
        const tags = new Set(judged.map(({ tag }) => tag));
        const want = tableOf(truth.ruleset());
        assert.deepEqual(operationsBetween(judging(kernel, tags), judging(want, tags)), []);
        if (isWhole) assert.deepEqual(operationsBetween(kernel, want), []);
      };
      for (const step of [...startOf(first), { kind: 'take' } as const, ...steps]) {
        happen(rules, truth, step);
        if (step.kind === 'take') take();
        if (step.kind === 'take of') take([step.namespace]);
      }
      take();
      assert.deepEqual(rules.unsettled, []);
    }),
    { numRuns: 500 },
  );
  assert.ok(waited > 50, `the policies of others waited ${waited} times`);
});

test('an identity that is new is judged by the policies of now, though those of its namespace wait', () => {
  const rules = new LiveRules();
  const identityOf = (app: string) => ({ namespace: 'b', labels: new Map([['app', app]]), namedPorts: [] });
  const policy = (port: number): NetworkPolicy => ({
    ...{ kind: 'NetworkPolicy', namespace: 'b', name: 'web', subject: { requirements: [] } },
    ingress: [{ index: 0, peers: 'any', ports: [{ protocol: 'TCP', first: port, last: port }] }],
  });
  const old = { tag: 1, identity: identityOf('old') };
  rules.setPolicy(policy(80));
  rules.setIdentities([old]);
  rules.take();
  rules.setPolicy(policy(81));
  assert.equal(rules.take(['a']), undefined, 'it waits');
  rules.setIdentities([old, { tag: 2, identity: identityOf('new') }]);
  const { tags, chains } = rules.take(['a'])!.after;
  const ports = [1, 2].map(tag => chains.get(tags.get(tag)!.ingress)?.rules.map(({ ports: allowed }) => allowed));
  const only = [{ protocol: 'TCP', spans: [{ first: 81, last: 81 }] }];
  assert.deepEqual(ports, [only, only]);
});

test('each change that is taken turns the table of before into the one that a compiler of the whole makes', () => {
  const seen = { structural: 0, elements: 0, nothing: 0 };
  fc.assert(
    fc.property(history, ({ first, steps }) => {
      const rules = new LiveRules();
      const truth = new Truth();
      let kernel = tableOf(rules.ruleset());
      const take = (): void => {
        const change = rules.take();
        if (change) kernel = apply(kernel, diff(tableOf(change.before), tableOf(change.after)))!;
        assert.deepEqual(operationsBetween(kernel, tableOf(truth.ruleset())), []);
        seen[change === undefined ? 'nothing' : change.isStructural ? 'structural' : 'elements']++;
      };
      for (const step of [...startOf(first), ...steps]) {
        happen(rules, truth, step);
        if (step.kind === 'take' || step.kind === 'take of') take();
        if (step.kind === 'look')
          assert.deepEqual(operationsBetween(tableOf(rules.ruleset()), tableOf(truth.ruleset())), []);
      }
      take();
    }),
    { numRuns: 500 },
  );
  // Elements alone change some 80 times, and by chance also less than 50 times.
  for (const [what, count] of Object.entries(seen)) assert.ok(count > 20, `${what} came up ${count} times`);
});
