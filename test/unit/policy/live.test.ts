/** The ruleset that is kept up to date change by change, held against the compiler of the whole. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { compile } from '../../../lib/policy/compile/compile.ts';
import { LiveRules } from '../../../lib/policy/compile/live.ts';
import type { PeerSet, Ruleset } from '../../../lib/policy/compile/ruleset.ts';
import { Cluster } from '../../../lib/policy/evaluate/cluster.ts';
import type { NetworkPolicy, Pod, PodPeer } from '../../../lib/policy/model/model.ts';
import { identityKey } from '../../../lib/tag/identity.ts';
import { type Manifest, manifests, tagged, worldFrom } from '../../support/worlds.ts';

type Change = (target: LiveRules | Cluster) => void;

const name = fc.constantFrom('p0', 'p1', 'p2', 'p3');
const namespace = fc.constantFrom('a', 'b');
const labels = fc
  .dictionary(fc.constantFrom('app', 'env'), fc.constantFrom('x', 'y'), { maxKeys: 2 })
  .map(entries => new Map(Object.entries(entries)));
/** Also one port twice, as two containers may have it. */
const ports = fc.array(
  fc.record({ name: fc.constantFrom('http', 'dns'), port: fc.constantFrom(80, 81), protocol: fc.constant('TCP') }),
  { maxLength: 2 },
);
/** Few addresses, so that several pods say to have one. */
const addresses = fc.uniqueArray(fc.constantFrom('10.0.0.1', '10.0.0.2', '10.0.0.3', 'fd00::1', 'fd00::2'), {
  maxLength: 2,
});
const pod: fc.Arbitrary<Pod> = fc.record({
  ...{ namespace, name, uid: fc.constantFrom('u', 'v'), labels, namedPorts: ports, addresses },
  hostNetwork: fc.constantFrom(false, false, false, true),
  finished: fc.constantFrom(false, false, false, true),
  local: fc.boolean(),
});
/** Of a random world no more is read than is asked of it. */
const readOf = (list: readonly Manifest[], ...kinds: readonly string[]) =>
  worldFrom(list.filter(({ kind }) => kinds.some(each => String(kind).endsWith(each))));
const policies = manifests().map(list => readOf(list, 'NetworkPolicy').policies);
const worldOfTiers = manifests({ clusterPolicies: 3 });
const clusterPolicies = worldOfTiers.map(
  list => readOf(list, 'ClusterNetworkPolicy', 'AdminNetworkPolicy').clusterPolicies!,
);
const nodes = worldOfTiers.map(list => readOf(list, 'Node').nodes!);
const identities = fc
  .array(fc.record({ namespace, labels, namedPorts: ports }), { minLength: 1, maxLength: 3 })
  .map(list => tagged(list).identities);

const change: fc.Arbitrary<Change> = fc.oneof(
  { weight: 5, arbitrary: pod.map(each => (target: LiveRules | Cluster) => target.setPod(each)) },
  { weight: 2, arbitrary: pod.map(each => (target: LiveRules | Cluster) => target.deletePod(each)) },
  {
    weight: 2,
    arbitrary: fc.tuple(namespace, labels).map(
      ([which, now]) =>
        (target: LiveRules | Cluster) =>
          target.setNamespace(which, now),
    ),
  },
  { weight: 1, arbitrary: namespace.map(which => (target: LiveRules | Cluster) => target.deleteNamespace(which)) },
  {
    weight: 2,
    arbitrary: policies.map(list => (target: LiveRules | Cluster) => {
      for (const policy of list) target.setPolicy(policy);
    }),
  },
  {
    weight: 1,
    arbitrary: policies.map(list => (target: LiveRules | Cluster) => {
      for (const policy of list) target.deletePolicy(policy);
    }),
  },
);

/** The others, and those of cluster policies and nodes. */
const changeOfTiers: fc.Arbitrary<Change> = fc.oneof(
  { weight: 5, arbitrary: change },
  {
    weight: 2,
    arbitrary: clusterPolicies.map(list => (target: LiveRules | Cluster) => {
      for (const policy of list) target.setClusterPolicy(policy);
    }),
  },
  {
    weight: 1,
    arbitrary: clusterPolicies.map(list => (target: LiveRules | Cluster) => {
      for (const policy of list) target.deleteClusterPolicy(policy);
    }),
  },
  {
    weight: 1,
    arbitrary: nodes.map(list => (target: LiveRules | Cluster) => {
      for (const node of list) target.setNode(node);
    }),
  },
  {
    weight: 1,
    arbitrary: fc.constantFrom('n1', 'n2').map(which => (target: LiveRules | Cluster) => target.deleteNode(which)),
  },
);

const shown = (value: unknown): string =>
  JSON.stringify(value, (_, each: unknown) => {
    if (typeof each === 'bigint') return String(each);
    return each instanceof Map ? [...each].sort(([a], [b]) => (String(a) < String(b) ? -1 : 1)) : each;
  });

/** The whole after a change, made from the whole before it and the parts that were told. */
function applied(whole: Ruleset, { before, after, isStructural }: NonNullable<ReturnType<LiveRules['take']>>): Ruleset {
  const sets = new Map(whole.sets);
  for (const set of before.sets.keys()) if (isStructural && !after.sets.has(set)) sets.delete(set);
  for (const [key, { elements: come, ...rest }] of after.sets) {
    const kept = before.sets.has(key) ? (sets.get(key)?.elements ?? []) : [];
    const gone = new Set((before.sets.get(key)?.elements ?? []).map(shown));
    const held = kept.map(shown);
    for (const element of gone) assert.ok(held.includes(element), `${key} never held ${element}`);
    const elements = [...kept.filter((_, i) => !gone.has(held[i]!)), ...come];
    sets.set(key, { ...rest, elements } as PeerSet);
  }
  if (!isStructural) assert.equal(after.isOrdered, whole.isOrdered);
  const chains = changed(whole.chains, before.chains, after.chains);
  const tags = changed(whole.tags, before.tags, after.tags);
  return { sets, chains, tags, ...(after.isOrdered ? { isOrdered: true } : {}) };
}

type Entries<K, V> = ReadonlyMap<K, V>;

const changed = <K, V>(whole: Entries<K, V>, before: Entries<K, V>, after: Entries<K, V>): Entries<K, V> =>
  new Map([...[...whole].filter(([key]) => !before.has(key)), ...after]);

/** But for the order in which a selector lists its values, and an identity its ports. */
const sorted = ({ sets, chains, tags, isOrdered }: Ruleset): string => {
  const inOrder = [...sets].map(([key, { kind, family, comment, elements }]) => {
    return [key, { kind, family, comment, elements: elements.map(shown).sort() }] as const;
  });
  const entries = [...tags].map(([tag, { identity, ...gates }]) => [tag, identityKey(identity), gates]);
  return shown([new Map(inOrder), chains, entries.sort(), isOrdered === true]);
};

/** Changes in portions; before each of them identities may become others. */
const portionsOf = (one: fc.Arbitrary<Change>) =>
  fc.array(fc.tuple(fc.array(one, { minLength: 1, maxLength: 4 }), fc.option(identities)), {
    minLength: 1,
    maxLength: 8,
  });

for (const [what, changes, numRuns] of [
  ['any changes without cluster policies', portionsOf(change), 200],
  ['any changes', portionsOf(changeOfTiers), 600],
] as const)
  test(`after ${what}, in any portions, the parts that are told make the whole that a compiler makes`, () => {
    fc.assert(
      fc.property(changes, identities, fc.constantFrom(undefined, 1), (list, first, apart) => {
        const options = apart === undefined ? {} : { apart };
        const rules = new LiveRules(options);
        const cluster = new Cluster();
        let current = first;
        let whole: Ruleset = { sets: new Map(), chains: new Map(), tags: new Map() };
        rules.setIdentities(current);
        for (const [portion, others] of list) {
          for (const each of portion) {
            each(rules);
            each(cluster);
          }
          current = others ?? current;
          if (others) rules.setIdentities(others);
          const want = sorted(compile(cluster, current, options));
          assert.equal(sorted(rules.ruleset()), want, 'asked for the whole, before it is taken');
          const taken = rules.take();
          if (taken) whole = applied(whole, taken);
          assert.equal(sorted(whole), want);
          assert.equal(rules.take(), undefined, 'nothing is told twice');
        }
      }),
      { numRuns },
    );
  });

test('a pod relabelled from one protocol of a set of pairs to another, on the same port, goes over to it', () => {
  const rules = new LiveRules({ apart: 1 });
  const speaking = (app: string, protocol: 'TCP' | 'UDP'): NetworkPolicy => ({
    ...allow(protocol),
    ingress: [
      {
        index: 0,
        peers: [{ kind: 'pods', namespace: everywhere, pods: labelled('app', app) }],
        ports: [{ protocol, first: 53, last: 53 }],
      },
    ],
  });
  rules.setPolicy(speaking('x', 'TCP'));
  rules.setPolicy(speaking('y', 'UDP'));
  rules.setPod(podNumber(1, { app: 'x' }));
  rules.setIdentities([{ tag: 0x74670001, identity: { namespace: 'own', labels: new Map(), namedPorts: [] } }]);
  rules.take();
  rules.setPod(podNumber(1, { app: 'y' }));
  const { before, after } = rules.take()!;
  const protocols = [before, after].map(({ sets }) =>
    [...sets.values()].flatMap(set => (set.kind === 'tuples' ? set.elements.map(({ protocol }) => protocol) : [])),
  );
  assert.deepEqual(protocols, [['TCP'], ['UDP']]);
});

const everywhere = { requirements: [] };
const labelled = (key: string, value: string) => ({
  requirements: [{ key, operator: 'In', values: [value] } as const],
});
const allow = (policy: string, ...peers: PodPeer[]): NetworkPolicy => ({
  ...{ kind: 'NetworkPolicy', namespace: 'own', name: policy, subject: everywhere },
  ingress: [{ index: 0, peers, ports: 'any' }],
});

test('the counter of a policy that another chain still has does not go with an identity', () => {
  const rules = new LiveRules();
  const peer = { kind: 'pods', namespace: 'own', pods: everywhere } as const;
  rules.setPolicy(allow('all', peer));
  rules.setPolicy({ ...allow('some', { ...peer, pods: labelled('app', 'x') }), subject: labelled('app', 'x') });
  const identities = [{}, { app: 'x' }].map((labels, i) => ({
    tag: 0x74670001 + i,
    identity: { namespace: 'own', labels: new Map(Object.entries(labels)), namedPorts: [] },
  }));
  rules.setIdentities(identities);
  rules.take();
  rules.setIdentities(identities.slice(0, 1));
  const { before, after } = rules.take()!;
  const countersOf = ({ chains }: Ruleset) =>
    [...chains.values()].flatMap(chain => chain.rules.map(rule => rule.counter));
  const stay = new Set(countersOf(after));
  const gone = countersOf(before).filter(counter => !stay.has(counter));
  assert.deepEqual([...new Set(gone)], ['NetworkPolicy/own/some']);
});

/** A node with three policies in a cluster of so many pods, a fifth of which one policy selects. */
function clusterOf(pods: number): LiveRules {
  const rules = new LiveRules();
  for (let i = 0; i < pods / 20; i++) rules.setNamespace(`ns${i}`, new Map([['team', `t${i % 5}`]]));
  for (let i = 0; i < pods; i++) rules.setPod(podNumber(i, { app: `app${i % 5}` }));
  for (let i = 0; i < pods / 10; i++) rules.setPolicy({ ...allow(`p${i}`), namespace: `ns${i % (pods / 20)}` });
  rules.setPolicy(allow('by-label', { kind: 'pods', namespace: everywhere, pods: labelled('app', 'app1') }));
  rules.setPolicy(allow('by-team', { kind: 'pods', namespace: labelled('team', 't9'), pods: everywhere }));
  rules.setPolicy(allow('by-place', { kind: 'pods', namespace: 'ns1', pods: everywhere }));
  rules.setIdentities([{ tag: 0x74670001, identity: { namespace: 'own', labels: new Map(), namedPorts: [] } }]);
  rules.take();
  return rules;
}

const podNumber = (i: number, own: Record<string, string>): Pod => ({
  ...{ namespace: `ns${Math.floor(i / 20)}`, name: `p${i}`, uid: `u${i}`, labels: new Map(Object.entries(own)) },
  ...{ addresses: [`10.${i >> 14}.${(i >> 7) & 127}.${i & 127}`], namedPorts: [], hostNetwork: false, finished: false },
});

const events: readonly (readonly [string, (rules: LiveRules) => void, number])[] = [
  ['a pod elsewhere that no policy here speaks of', rules => rules.setPod({ ...podNumber(12, { app: 'x' }) }), 0],
  [
    'a pod elsewhere that gets a label which a policy here asks for',
    rules => rules.setPod(podNumber(12, { app: 'app1' })),
    1,
  ],
  ['a pod elsewhere that goes', rules => rules.deletePod(podNumber(1, {})), 1],
  [
    'a namespace of twenty pods that gets a label which a policy here asks for',
    rules => rules.setNamespace('ns3', new Map([['team', 't9']])),
    20,
  ],
  ['a policy elsewhere', rules => rules.setPolicy({ ...allow('other'), namespace: 'ns3' }), 0],
];

for (const [what, event, elements] of events)
  test(`${what} costs no more in a cluster of 20,000 pods than in one of 200`, () => {
    const costs = [200, 20_000].map(pods => {
      const rules = clusterOf(pods);
      const before = rules.asked;
      event(rules);
      const change = rules.take();
      const moved = [change?.before, change?.after].flatMap(part => [...(part?.sets.values() ?? [])]);
      assert.equal(
        moved.reduce((sum, set) => sum + set.elements.length, 0),
        elements,
      );
      assert.equal(change?.isStructural ?? false, false);
      return rules.asked - before;
    });
    assert.equal(costs[0], costs[1]);
  });
