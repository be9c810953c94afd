import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { type Family, parseAddress } from '../../../lib/ip/address.ts';
import { type CompileOptions, compile } from '../../../lib/policy/compile/compile.ts';
import { isOfPairs, type Ruleset } from '../../../lib/policy/compile/ruleset.ts';
import { Cluster } from '../../../lib/policy/evaluate/cluster.ts';
import { evaluate } from '../../../lib/policy/evaluate/evaluate.ts';
import type { Endpoint, Pod, Protocol, World } from '../../../lib/policy/model/model.ts';
import { outcomeAt, passesCluster } from '../../support/ruleset-tracer.ts';
import {
  localPods,
  type Manifest,
  manifests,
  outside,
  ownNode,
  tagged,
  traffic,
  withOwnNode,
  worldFrom,
} from '../../support/worlds.ts';

const families: readonly Family[] = [4, 6];
const podAt = (pod: Pod): Endpoint => ({ kind: 'pod', pod });

/** The other ends that a local pod may meet, each with the address that its packets have. */
function peersIn(world: World, family: Family): readonly { readonly endpoint: Endpoint; readonly address: string }[] {
  const inFamily = (text: string) => parseAddress(text)!.family === family;
  const pods = world.pods
    .filter(({ finished }) => !finished)
    .flatMap(pod => pod.addresses.filter(inFamily).map(address => ({ endpoint: podAt(pod), address })));
  const bare = [...outside, '10.0.0.1', '10.0.0.3', '10.0.0.102', 'fd00::1', 'fd00::3', 'fd00::66'];
  const addresses = bare
    .filter(inFamily)
    .map(address => ({ endpoint: { kind: 'address', address } as const, address }));
  return [...pods, ...addresses];
}

/** The one thing that the ruleset leaves to the table's own rules: who is a pod's own node, and the pod itself. */
function isTablesOwn(world: World, subject: Pod, address: string): boolean {
  const onOwnNode = world.pods.some(
    pod => pod.hostNetwork && !pod.finished && pod.nodeName === subject.nodeName && pod.addresses.includes(address),
  );
  const isOwnNodes = world.nodes!.some(({ name, addresses }) => name === ownNode && addresses.includes(address));
  return isOwnNodes || onOwnNode || subject.addresses.includes(address);
}

/** How often each kind of answer was seen, so that a generator that grew dull fails. */
type Seen = Map<string, number>;

const count = (seen: Seen, what: string): Seen => seen.set(what, (seen.get(what) ?? 0) + 1);

function countRuleset(seen: Seen, { sets, chains }: Ruleset): void {
  for (const set of sets.values()) {
    if (set.elements.length === 0) continue;
    count(seen, set.kind === 'tuples' && isOfPairs(set) ? 'pairs' : set.kind);
    if (set.kind === 'decided') count(seen, `decided by ${set.key}: ${set.action}`);
  }
  for (const { direction, rules } of chains.values()) for (const _ of rules) count(seen, `${direction} rule`);
}

interface Meeting {
  readonly subject: Pod;
  readonly family: Family;
  readonly endpoint: Endpoint;
  readonly address: string;
}

/** Every local pod with everybody that it may meet, but for those of whom the table's own rules speak. */
const meetingsIn = (world: World): readonly Meeting[] =>
  families.flatMap(family => {
    const peers = peersIn(world, family);
    return localPods(world)
      .filter(({ addresses }) => addresses.some(own => parseAddress(own)!.family === family))
      .flatMap(subject => peers.map(peer => ({ subject, family, ...peer })))
      .filter(({ subject, address }) => !isTablesOwn(world, subject, address));
  });

/** A world, and what the compiler makes of it. */
interface Compiled {
  readonly world: World;
  readonly ruleset: Ruleset;
  readonly tagOf: (subject: Pod) => number;
}

function compiled(list: readonly Manifest[], options: CompileOptions = {}): Compiled {
  const world = worldFrom(list);
  const pods = localPods(world);
  const { identities, tagOf } = tagged(pods);
  const tags = new Map(pods.map(subject => [subject, tagOf(subject)!]));
  return { world, ruleset: compile(world, identities, options), tagOf: subject => tags.get(subject)! };
}

/** Three kinds of traffic for each meeting, others in each turn. */
function agrees({ world, ruleset, tagOf }: Compiled, turn: number, seen: Seen): void {
  countRuleset(seen, ruleset);
  for (const [n, { subject, family, endpoint, address: text }] of meetingsIn(world).entries()) {
    const peer = parseAddress(text)!;
    const tag = tagOf(subject);
    for (const step of [0, 2, 4]) {
      const { protocol, port } = traffic[(turn + n + step) % traffic.length]!;
      const flow = { family, protocol, port };
      const self = podAt(subject);
      const verdicts = {
        egress: evaluate(world, { from: self, to: endpoint, ...flow }).egress,
        ingress: evaluate(world, { from: endpoint, to: self, ...flow }).ingress,
      };
      for (const direction of ['egress', 'ingress'] as const) {
        const { allowed, isolated, why, tier, passed, rules } = verdicts[direction];
        const packet = { peer, protocol, port };
        const outcome = outcomeAt(ruleset, tag, direction, packet);
        assert.equal(outcome === 'passes', allowed, `${direction}, ${text}: ${why}`);
        if (outcome !== 'passes' && outcome?.number !== undefined) {
          assert.deepEqual(outcome.denies?.rules, rules, `${direction}, ${text}: ${why}`);
          count(seen, 'denied by number');
        }
        if (isolated) count(seen, `${direction} ${allowed ? 'allowed' : 'denied'}`);
        else if (tier) count(seen, `${tier} ${allowed ? 'accepts' : 'denies'}`);
        if (passed.length > 0) count(seen, 'passed on');
      }
    }
  }
}

/** Each local pod to its own node's addresses, and to itself through a Service: what cluster policies alone judge. */
function agreesOnOwn({ world, ruleset, tagOf }: Compiled, turn: number, seen: Seen): void {
  const own = world.nodes!.find(({ name }) => name === ownNode)!.addresses;
  for (const [n, subject] of localPods(world).entries())
    for (const address of [...own, ...subject.addresses]) {
      const isItself = subject.addresses.includes(address);
      const to: Endpoint = isItself ? podAt(subject) : { kind: 'address', address };
      const { family } = parseAddress(address)!;
      const { protocol, port } = traffic[(turn + n) % traffic.length]!;
      const flow = { from: podAt(subject), to, family, protocol, port, throughService: isItself };
      const verdict = evaluate(world, flow);
      const packet = { peer: parseAddress(address)!, protocol, port };
      for (const direction of isItself ? (['egress', 'ingress'] as const) : (['egress'] as const)) {
        const { allowed, why } = verdict[direction];
        const said = passesCluster(ruleset, tagOf(subject), direction, packet);
        assert.equal(said, allowed, `${direction}, ${isItself ? 'itself' : 'own node'} ${address}: ${why}`);
        count(seen, `${isItself ? 'itself' : 'own node'} ${direction} ${allowed ? 'allowed' : 'denied'}`);
      }
    }
}

/** Every kind of set, rule and answer came up often. */
function isRich(seen: Seen, least: number, more: readonly string[] = []): void {
  const answers = ['egress', 'ingress'].flatMap(direction =>
    ['rule', 'allowed', 'denied'].map(what => `${direction} ${what}`),
  );
  for (const what of ['addresses', 'ranges', 'tuples', ...answers, ...more])
    assert.ok((seen.get(what) ?? 0) >= least, `${what} came up ${seen.get(what) ?? 0} times`);
}

test('evaluate and the compiled ruleset agree over random worlds without cluster policies', () => {
  const seen: Seen = new Map();
  fc.assert(
    fc.property(manifests(), fc.nat(100), (list, turn) => agrees(compiled(list), turn, seen)),
    { numRuns: 500 },
  );
  isRich(seen, 10);
});

const tiered = manifests({ clusterPolicies: 5 }).map(withOwnNode);
/** What comes with cluster policies. */
const ofTiers = [
  ...['nodes', 'Admin accepts', 'Admin denies', 'Baseline accepts', 'Baseline denies', 'passed on'],
  ...['own node egress', 'itself egress', 'itself ingress'].flatMap(way => [`${way} allowed`, `${way} denied`]),
];
/** What is looked up of many rules at once. */
const decided = ['address', 'tuple'].flatMap(key => [
  ...['Accept', 'Deny', 'Pass'].map(action => `decided by ${key}: ${action}`),
  'denied by number',
]);

test('they agree over 2,000 random worlds with all tiers, also on the own node and on a pod itself', () => {
  const seen: Seen = new Map();
  fc.assert(
    fc.property(tiered, fc.nat(100), fc.constantFrom(undefined, 1), (list, turn, apart) => {
      const both = compiled(list, apart === undefined ? {} : { apart });
      agrees(both, turn, seen);
      agreesOnOwn(both, turn, seen);
    }),
    { numRuns: 2000 },
  );
  isRich(seen, 100, ofTiers);
  isRich(seen, 25, decided);
});

test('they agree where rules are merged as soon as two have one shape', () => {
  const seen: Seen = new Map();
  fc.assert(
    fc.property(manifests({ policies: 12 }), fc.nat(100), (list, turn) =>
      agrees(compiled(list, { apart: 1 }), turn, seen),
    ),
    { numRuns: 500 },
  );
  isRich(seen, 25);
  assert.ok((seen.get('pairs') ?? 0) >= 25, `pairs came up ${seen.get('pairs') ?? 0} times`);
});

test('equal worlds compile to equal rulesets, whatever order their objects came in', () => {
  const shuffled = manifests().chain(list =>
    fc.tuple(fc.constant(list), fc.shuffledSubarray([...list], { minLength: list.length })),
  );
  fc.assert(
    fc.property(shuffled, ([list, other]) => {
      const { identities } = tagged(localPods(worldFrom(list)));
      assert.deepEqual(compile(worldFrom(other), identities.toReversed()), compile(worldFrom(list), identities));
    }),
    { numRuns: 200 },
  );
});

test('a cluster that changed one object at a time compiles like one made at once', () => {
  fc.assert(
    fc.property(manifests(), manifests(), (before, after) => {
      const [old, world] = [worldFrom(before), worldFrom(after)];
      const cluster = new Cluster(old);
      for (const pod of old.pods) cluster.deletePod(pod);
      for (const policy of old.policies) cluster.deletePolicy(policy);
      for (const name of old.namespaces.keys()) cluster.deleteNamespace(name);
      for (const [name, labels] of world.namespaces) cluster.setNamespace(name, labels);
      for (const policy of world.policies) cluster.setPolicy(policy);
      for (const pod of world.pods) cluster.setPod({ ...pod, labels: new Map(), namedPorts: [] });
      for (const pod of world.pods) cluster.setPod(pod);
      const { identities } = tagged(localPods(world));
      assert.deepEqual(compile(cluster, identities), compile(world, identities));
    }),
    { numRuns: 300 },
  );
});

test('a cluster keeps nothing of pods and policies that are gone', () => {
  fc.assert(
    fc.property(manifests(), list => {
      const world = worldFrom(list);
      const cluster = new Cluster(world);
      for (const pod of world.pods) cluster.deletePod(pod);
      for (const policy of world.policies) cluster.deletePolicy(policy);
      const left: unknown[] = [...cluster.pods(), ...cluster.members(), ...cluster.populatedNamespaces()];
      for (const pod of world.pods) {
        for (const [key, value] of pod.labels) left.push(...cluster.withLabel(key, value));
        for (const { protocol, name } of pod.namedPorts) left.push(...cluster.withPort(protocol as Protocol, name));
        left.push(...cluster.inNamespace(pod.namespace), ...pod.addresses.flatMap(text => cluster.ownerOf(text) ?? []));
        left.push(...pod.addresses.flatMap(text => cluster.nodeWith(text) ?? []));
      }
      for (const { namespace } of world.policies) assert.deepEqual([...cluster.policiesIn(namespace)], []);
      assert.deepEqual(left, []);
    }),
    { numRuns: 200 },
  );
});
