/** A change of one cluster policy among many costs what it touches: the others are not worked out again. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LiveRules } from '../../../lib/policy/compile/live.ts';
import type { Ruleset } from '../../../lib/policy/compile/ruleset.ts';
import { readManifests } from '../../../lib/policy/manifest/manifest.ts';
import type { ClusterPolicy, ClusterRule } from '../../../lib/policy/model/cluster-policy.ts';
import type { NetworkPolicy, Pod, PodPeer } from '../../../lib/policy/model/model.ts';

const everything = { requirements: [] };
const ofApp = (app: string): PodPeer => ({
  ...{ kind: 'pods', namespace: everything },
  pods: { requirements: [{ key: 'app', operator: 'In', values: [app] }] },
});

const RULES = 24;
const actions = ['Accept', 'Deny', 'Pass'] as const;

/** A policy that counts in `asked` how often the peers of its rules are asked for. */
class Counted {
  asked = 0;
  readonly policy: ClusterPolicy;

  constructor(number: number) {
    const rules = Array.from({ length: RULES }, (_, index) => this.#rule(number, index));
    this.policy = {
      ...{ kind: 'ClusterNetworkPolicy', name: `policy-${number}`, tier: 'Admin', priority: number },
      ...{ subject: { kind: 'pods', namespace: everything, pods: everything }, ingress: rules, egress: [] },
    };
  }

  #rule(number: number, index: number): ClusterRule {
    const peers = [ofApp(`${number}-${index}`)];
    const count = () => this.asked++;
    return {
      ...{ index, action: actions[index % actions.length]!, ports: [{ protocol: 'TCP', first: 80, last: 80 }] },
      get peers() {
        count();
        return peers;
      },
    };
  }
}

const NAMESPACES = 20;
const identities = Array.from({ length: NAMESPACES }, (_, i) => ({
  tag: 0x74670001 + i,
  identity: { namespace: `ns-${i}`, labels: new Map<string, string>(), namedPorts: [] },
}));

/** What follows the tier is something else in every other namespace. */
function rulesOf(policies: readonly Counted[], number = NAMESPACES): LiveRules {
  const rules = new LiveRules();
  for (const { policy } of policies) rules.setClusterPolicy(policy);
  const present = identities.slice(0, number);
  for (const [i, { identity }] of present.entries()) if (i % 2 === 1) rules.setPolicy(isolating(identity.namespace));
  rules.setIdentities(present);
  return rules;
}

const asked = (policies: readonly Counted[]): readonly number[] => policies.map(each => each.asked);

const isolating = (namespace: string): NetworkPolicy => ({
  ...{ kind: 'NetworkPolicy', namespace, name: 'own', subject: everything },
  ingress: [{ index: 0, peers: [ofApp(namespace)], ports: 'any' }],
});

test('the rules of a cluster policy are worked out once, whatever the number of namespaces that it selects', () => {
  const [ofOne, ofMany] = [1, NAMESPACES].map(number => {
    const policies = [1, 2, 3].map(each => new Counted(each));
    rulesOf(policies, number).take();
    return asked(policies);
  });
  assert.deepEqual(ofMany, ofOne);
  assert.ok(ofOne!.every(times => times >= RULES));
});

test('they are not worked out again where another policy changes, comes or goes, or swaps its place with theirs', () => {
  const [first, second, third] = [1, 2, 3].map(number => new Counted(number)) as [Counted, Counted, Counted];
  const rules = rulesOf([first, second, third]);
  rules.take();
  const before = asked([first, third]);
  const changes = [
    () => rules.setClusterPolicy(new Counted(2).policy),
    () => rules.deleteClusterPolicy(second.policy),
    () => rules.setClusterPolicy({ ...new Counted(2).policy, priority: 0 }),
    () => rules.setNamespace('ns-1', new Map([['team', 'shop']])),
  ];
  for (const change of changes) {
    change();
    rules.take();
  }
  assert.deepEqual(asked([first, third]), before);
});

test('the rules of a policy that deny keep their chain, and so their counters, where other policies change', () => {
  const policies = Array.from({ length: 40 }, (_, i) => new Counted(i));
  const rules = rulesOf(policies);
  rules.take();
  const denyingIn = (chains: Ruleset['chains']) =>
    [...chains.values()].filter(each => each.rules.some(({ numbers, to }) => numbers && to === undefined));
  assert.equal(denyingIn(rules.chains).length, policies.length);
  // The first of them, so that all others are asked one rule earlier.
  const { policy } = new Counted(0);
  rules.setClusterPolicy({ ...policy, ingress: policy.ingress.toSpliced(1, 1) });
  const { before, after } = rules.take()!;
  assert.equal(after.tags.size, NAMESPACES, 'all go to other chains');
  for (const { chains } of [before, after])
    assert.deepEqual(
      denyingIn(chains).flatMap(chain => chain.policies),
      ['ClusterNetworkPolicy/policy-0'],
    );
});

test('a pod that comes or goes is told without a walk through the chains', () => {
  const rules = rulesOf([1, 2, 3].map(number => new Counted(number)));
  rules.take();
  const podOf = (app: string): Pod => ({
    ...{ namespace: 'ns-0', name: app, labels: new Map([['app', app]]), namedPorts: [], addresses: ['10.0.0.1'] },
    ...{ hostNetwork: false, finished: false, local: true },
  });
  // What the sets do is worked out once, for the first pod that comes into one.
  const [first, second] = [podOf('1-0'), podOf('2-3')];
  rules.setPod(first);
  assert.ok(rules.take());
  const walk = () => assert.fail('The chains were walked through');
  for (const way of ['entries', 'keys', 'values', 'forEach', Symbol.iterator])
    Object.defineProperty(rules.chains, way, { value: walk });
  rules.deletePod(first);
  assert.equal(rules.take()?.isStructural, false);
  rules.setPod(second);
  assert.equal(rules.take()?.isStructural, false);
});

test('a port by name on the way in is the number that each identity gives to it', () => {
  const rules = new LiveRules();
  const [policy] = readManifests([{ file: 'x.yaml', document: 0, value: byName }]).world.clusterPolicies!;
  rules.setClusterPolicy(policy!);
  const withPort = (port: number) => [{ name: 'http', port, protocol: 'TCP' as const }];
  rules.setIdentities(
    [80, 8080].map((port, i) => ({ tag: 1 + i, identity: { ...identities[0]!.identity, namedPorts: withPort(port) } })),
  );
  const { tags, chains } = rules.take()!.after;
  const spans = [...tags.values()].map(({ ingress }) => {
    const { ports } = chains.get(ingress)!.rules[0]!;
    return ports === 'any' ? ports : ports.spans;
  });
  assert.deepEqual(
    spans,
    [80, 8080].map(port => [{ first: port, last: port }]),
  );
});

const byName = {
  ...{ apiVersion: 'policy.networking.k8s.io/v1alpha2', kind: 'ClusterNetworkPolicy', metadata: { name: 'by-name' } },
  spec: {
    ...{ tier: 'Admin', priority: 1, subject: { namespaces: {} } },
    ingress: [{ action: 'Deny', from: [{ namespaces: {} }], protocols: [{ destinationNamedPort: 'http' }] }],
  },
};
