/**
 * Where rules are ordered, a packet must not look into one set before a change and into the next one after it; but for changes
 * that only allow more, or only less. These need no rule in their batch, with each of which the kernel walks through all rules.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { NodeRules } from '../../../lib/gate/node-rules.ts';
import { emptyNode, type LocalPod, type NodeState, podKey, withoutPod, withPod } from '../../../lib/gate/node-state.ts';
import { stepsBetween } from '../../../lib/gate/steps.ts';
import { parseAddress } from '../../../lib/ip/address.ts';
import { setsIn, setsText } from '../../../lib/nodestore/rules-file.ts';
import { LiveRules } from '../../../lib/policy/compile/live.ts';
import type { PeerSet, Ruleset } from '../../../lib/policy/compile/ruleset.ts';
import { readManifests } from '../../../lib/policy/manifest/manifest.ts';
import type { Pod, World } from '../../../lib/policy/model/model.ts';
import { passes } from '../../support/ruleset-tracer.ts';
import { localPods, manifests, outside, tagged, traffic, worldFrom } from '../../support/worlds.ts';

type Sets = Ruleset['sets'];

/** Sets as a packet finds them that has looked into some when they change. */
class Turning extends Map<string, PeerSet> {
  #looks = 0;
  readonly #until: number;
  readonly #then: Sets;

  constructor(sets: Sets, then: Sets, until: number) {
    super(sets);
    this.#then = then;
    this.#until = until;
  }

  override get(name: string): PeerSet | undefined {
    return this.#looks++ < this.#until ? super.get(name) : this.#then.get(name);
  }

  /** Whether the packet has seen both. */
  get hasTurned(): boolean {
    return this.#looks > this.#until;
  }
}

const directions = ['egress', 'ingress'] as const;

/** Who lets through each packet that one may pass which sees both: before and after, by the port of the packet. */
function passesOfBoth(before: Ruleset, after: Ruleset, peers: readonly string[]) {
  const passed: { readonly port: string; readonly before: boolean; readonly after: boolean }[] = [];
  for (const tag of new Set([...before.tags.keys(), ...after.tags.keys()]))
    for (const direction of directions)
      for (const text of peers)
        for (const each of traffic) {
          const packet = { ...each, peer: parseAddress(text)! };
          for (let looks = 1; ; looks++) {
            const sets = new Turning(before.sets, after.sets, looks);
            const isLet = passes({ ...before, sets }, tag, direction, packet);
            if (!sets.hasTurned) break;
            const by = (ruleset: Ruleset) => passes(ruleset, tag, direction, packet);
            const port = `${each.protocol} ${each.port}`;
            if (isLet) passed.push({ port, before: by(before), after: by(after) });
          }
        }
  return passed;
}

/** Pods of another world take the place of those of this one, or these go: some at once. Local identities come and go. */
const history = fc.tuple(manifests({ clusterPolicies: 4 }), manifests()).chain(([first, second]) => {
  const [world, other] = [worldFrom(first), worldFrom(second)];
  const ofPods = fc.constantFrom(
    ...world.pods.map(pod => (rules: LiveRules) => rules.deletePod(pod)),
    ...[...world.pods, ...other.pods].map(pod => (rules: LiveRules) => rules.setPod(pod)),
  );
  const ofIdentities = fc
    .subarray([...identitiesOf(world)])
    .map(some => (rules: LiveRules) => rules.setIdentities(some));
  const step = fc.oneof(ofPods, ofIdentities);
  const steps = fc.array(fc.array(step, { minLength: 1, maxLength: 2 }), { minLength: 3, maxLength: 8 });
  return fc.tuple(fc.constant({ world, other }), steps, fc.constantFrom(undefined, 1));
});

const identitiesOf = (world: World) => tagged(localPods(world)).identities;

function liveOf({ namespaces, pods, policies, clusterPolicies = [], nodes = [] }: World, apart?: number): LiveRules {
  const rules = new LiveRules(apart === undefined ? {} : { apart });
  for (const [name, labels] of namespaces) rules.setNamespace(name, labels);
  for (const node of nodes) rules.setNode(node);
  for (const pod of pods) rules.setPod(pod);
  for (const policy of policies) rules.setPolicy(policy);
  for (const policy of clusterPolicies) rules.setClusterPolicy(policy);
  rules.setIdentities(identitiesOf({ namespaces, pods, policies }));
  rules.take();
  return rules;
}

const addressesOf = (pods: readonly Pod[]) => pods.flatMap(({ addresses }) => addresses);

test('of a change that goes one way, a packet that sees both passes what one and the same of the two lets through', () => {
  const seen = { oneWay: 0, other: 0, tags: 0, passed: 0 };
  fc.assert(
    fc.property(history, ([{ world, other }, steps, apart]) => {
      const rules = liveOf(world, apart);
      const peers = [...new Set([...addressesOf([...world.pods, ...other.pods]), ...outside])];
      let before = rules.taken();
      for (const step of steps) {
        for (const each of step) each(rules);
        const change = rules.take();
        const after = rules.taken();
        if (change && !change.isStructural) seen[change.isOneWay ? 'oneWay' : 'other']++;
        if (change?.isStructural && change.isOneWay) seen.tags++;
        if (change?.isOneWay) {
          const passed = passesOfBoth(before, after, peers);
          seen.passed += passed.length;
          // Both ends of a packet are judged, each by what has changed of the other: all that has its port must agree.
          for (const some of Map.groupBy(passed, ({ port }) => port).values())
            assert.ok(some.every(by => by.before) || some.every(by => by.after));
        }
        before = after;
      }
    }),
    { numRuns: 600 },
  );
  for (const [what, count] of Object.entries(seen)) assert.ok(count > 50, `${what}: ${count} times`);
});

const owner = { enforcer: 'inline', stateDir: '/state', policies: '/policies' };
const settings = { judge: 'inline', nflogGroup: 7467, enforceEgressToNode: false } as const;

const podAt = (address: string, app: string): Omit<LocalPod, 'tag'> => ({
  ...{ network: 'n', containerID: address, ifname: 'eth0', link: `tg${address}`, namespace: 'own', name: address },
  ...{ labels: { app }, given: { config: {}, call: {} }, namedPorts: [], hostPorts: [], addresses: [address] },
});

const withApp = (app: string) => [{ pods: { namespaceSelector: {}, podSelector: { matchLabels: { app } } } }];
const byPort = (number: number) => ({ protocols: [{ tcp: { destinationPort: { number } } }] });

const policy = (tier: string, priority: number, ingress: readonly object[]) => ({
  ...{ apiVersion: 'policy.networking.k8s.io/v1alpha2', kind: 'ClusterNetworkPolicy' },
  metadata: { name: `${tier.toLowerCase()}-${priority}` },
  spec: { tier, priority, subject: { namespaces: {} }, ingress },
});

/**
 * So many policies, each of which accepts one app, denies another and passes on a third, to what
 * may deny it; and two apps that all speak of.
 */
function tiersOf(number: number): LiveRules {
  const rules = new LiveRules();
  const admin = Array.from({ length: number }, (_, i) =>
    policy('Admin', i, [
      { action: 'Accept', from: [...withApp(`accepted${i}`), ...withApp('mixed')], ...byPort(80) },
      { action: 'Deny', from: [...withApp(`denied${i}`), ...withApp('mixed')], ...byPort(81) },
      { action: 'Pass', from: withApp(`passed${i}`) },
      { action: 'Deny', from: withApp('half'), ...byPort(81) },
      { action: 'Accept', from: withApp('half') },
    ]),
  );
  const values = [...admin, policy('Baseline', 0, [{ action: 'Deny', from: withApp('stranger') }])];
  const { world, problems } = readManifests(values.map((value, document) => ({ file: 'x', document, value })));
  assert.deepEqual(problems, []);
  for (const policy of world.clusterPolicies!) rules.setClusterPolicy(policy);
  return rules;
}

/** The batches by which a pod comes, and those by which it goes. @param other the app of the pod that is there */
function batchesOf(app: string, policies: number, other = app) {
  const rules = new NodeRules(tiersOf(policies));
  const first = withPod(emptyNode(owner, settings), podAt('10.0.0.1', other), () => false).state;
  const second = withPod(first, podAt('10.0.0.2', app), () => false).state;
  const third = withoutPod(second, podKey(podAt('10.0.0.2', app) as LocalPod));
  const stepsTo = (before: NodeState, after: NodeState) => {
    rules.show(after);
    return stepsBetween({ before, after }, { change: rules.take(), markers: [1], isRecorded: true });
  };
  rules.show(first);
  rules.take();
  return [stepsTo(first, second), stepsTo(second, third)].map(steps =>
    steps.map(({ transaction }) => [...new Set(transaction.operations.map(({ object }) => object))]),
  );
}

for (const policies of [1, 40])
  for (const app of ['accepted0', 'denied0', 'of-nobody', ...(policies > 1 ? ['mixed'] : [])])
    test(`of ${policies} cluster policies: a pod like another that comes or goes, ${app}, is elements and no rule`, () => {
      assert.deepEqual(batchesOf(app, policies), [[['element']], [['element']]]);
    });

for (const app of ['accepted0', 'of-nobody'])
  test(`a pod like no other that comes or goes, ${app}: entries of its identity, and no rule`, () => {
    const objects = batchesOf(app, 40, 'other').flat(2);
    assert.deepEqual(objects.toSorted(), ['counter', 'counter', 'element', 'element']);
  });

test('a pod like no other that rules deny: no packet is to see its identity and not the denial', () => {
  for (const batches of batchesOf('denied0', 40, 'other'))
    assert.ok(batches.every(objects => objects.includes('rule')));
});

for (const [what, app, policies] of [
  ['that is passed on may be denied where it was accepted', 'passed0', 40],
  ['that is denied on one port and accepted on all others', 'half', 40],
  ['that few rules, which look for it whatever the port, accept and deny', 'mixed', 1],
] as const)
  test(`a pod ${what}: no packet is to see both`, () => {
    const [come] = batchesOf(app, policies);
    assert.ok(come!.every(objects => objects.includes('rule')));
  });

test('a process that goes on from the index alone tells the same ways', () => {
  const rules = tiersOf(40);
  rules.setIdentities([{ tag: 0x74670001, identity: { namespace: 'own', labels: new Map(), namedPorts: [] } }]);
  rules.take();
  const sets = setsIn(1, setsText(1, rules.index()))!;
  assert.deepEqual([...sets.effects!].sort(), [...rules.index().effects!].sort());
  const outline = new LiveRules();
  outline.resume(sets);
  const tells = (app: string) => {
    const pod = { namespace: 'own', name: app, labels: new Map([['app', app]]), addresses: ['10.0.0.9'] };
    const whole = { ...pod, uid: app, namedPorts: [], hostNetwork: false, finished: false };
    const isOneWay = [rules, outline].map(each => {
      each.setPod(whole);
      const { isOneWay: way } = each.take()!;
      each.deletePod(whole);
      each.take();
      return way;
    });
    return isOneWay;
  };
  assert.deepEqual(tells('accepted7'), [true, true]);
  assert.deepEqual(tells('denied7'), [true, true]);
  assert.deepEqual(tells('mixed'), [true, true]);
  assert.deepEqual(tells('passed7'), [undefined, undefined]);
});
