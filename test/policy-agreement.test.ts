import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { type Family, parseAddress } from '../lib/ip/address.ts';
import { Cluster } from '../lib/policy/cluster.ts';
import { type CompileOptions, compile } from '../lib/policy/compile.ts';
import { evaluate } from '../lib/policy/evaluate.ts';
import type { Endpoint, Pod, World } from '../lib/policy/model.ts';
import type { Ruleset } from '../lib/policy/ruleset.ts';
import { passes } from './ruleset-tracer.ts';
import { localPods, type Manifest, manifests, outside, tagged, traffic, worldFrom } from './worlds.ts';

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
  return onOwnNode || subject.addresses.includes(address);
}

function compareAll(world: World, ruleset: Ruleset, tagOf: (pod: Pod) => number | undefined, turn: number): void {
  let n = turn;
  for (const family of families)
    for (const subject of localPods(world))
      for (const { endpoint, address } of peersIn(world, family)) {
        if (
          isTablesOwn(world, subject, address) ||
          !subject.addresses.some(own => parseAddress(own)!.family === family)
        )
          continue;
        const self = podAt(subject);
        for (const { protocol, port } of [0, 2, 4].map(step => traffic[(n + step) % traffic.length]!)) {
          const packet = { peer: parseAddress(address)!, protocol, port };
          const out = evaluate(world, { from: self, to: endpoint, family, protocol, port }).egress;
          assert.equal(passes(ruleset, tagOf(subject)!, 'egress', packet), out.allowed, `to ${address}: ${out.why}`);
          const into = evaluate(world, { from: endpoint, to: self, family, protocol, port }).ingress;
          assert.equal(
            passes(ruleset, tagOf(subject)!, 'ingress', packet),
            into.allowed,
            `from ${address}: ${into.why}`,
          );
        }
        n++;
      }
}

function agrees(list: readonly Manifest[], turn: number, options: CompileOptions = {}): void {
  const world = worldFrom(list);
  const { identities, tagOf } = tagged(localPods(world));
  compareAll(world, compile(world, identities, options), tagOf, turn);
}

test('evaluate and the compiled ruleset agree over 2,000 random worlds', () => {
  fc.assert(
    fc.property(manifests(), fc.nat(100), (list, turn) => agrees(list, turn)),
    { numRuns: 2000 },
  );
});

test('they agree where rules are merged as soon as two have one shape', () => {
  fc.assert(
    fc.property(manifests({ policies: 12 }), fc.nat(100), (list, turn) => agrees(list, turn, { apart: 1 })),
    { numRuns: 500 },
  );
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
