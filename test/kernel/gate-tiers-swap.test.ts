/**
 * Cluster policies change while packets are under way, by the agent's own table: no packet gets through that neither what was
 * said before nor what is said now lets through. In each of these changes both deny, by other rules, in other sets, at the
 * other end, or in another tier.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LiveTable } from '../../lib/enforce/live-table.ts';
import { type LocalPod, podKey, withPod } from '../../lib/gate/node-state.ts';
import { formatAddress } from '../../lib/ip/address.ts';
import { LiveRules } from '../../lib/policy/compile/live.ts';
import { readManifests } from '../../lib/policy/manifest/manifest.ts';
import { EagerPods } from '../support/eager.ts';
import { GateHost, type GatePod, localPod } from '../support/gate-host.ts';
import { MapStore } from '../support/map-store.ts';
import { settings } from '../support/unowned-table.ts';

const PORT = 7467;
const SWAPS = 400;

type Peers = Readonly<Record<string, string>>;
const byTeam = (team: string): Peers => ({ team });
const named = (name: string): Peers => ({ 'kubernetes.io/metadata.name': name });

/** A rule that has to do with the namespaces that have these labels. */
const rule = (action: string, side: 'from' | 'to', labels: Peers) => ({
  action,
  [side]: [{ namespaces: { matchLabels: labels } }],
});

function read(kind: string, apiVersion: string, metadata: object, spec: object) {
  const value = { apiVersion, kind, metadata, spec };
  const { world, problems } = readManifests([{ file: 'x.yaml', document: 0, value }]);
  assert.deepEqual(problems, []);
  return world;
}

function cluster(rules: LiveRules, name: string, priority: number, spec: object): void {
  const whole = { tier: 'Admin', priority, subject: { namespaces: {} }, ...spec };
  const { clusterPolicies } = read('ClusterNetworkPolicy', 'policy.networking.k8s.io/v1alpha2', { name }, whole);
  rules.setClusterPolicy(clusterPolicies![0]!);
}

function withoutCluster(rules: LiveRules, name: string): void {
  const found = [...rules.cluster.clusterPolicies('Admin'), ...rules.cluster.clusterPolicies('Baseline')];
  for (const policy of found) if (policy.name === name) rules.deleteClusterPolicy(policy);
}

/** No pod may call the pod that is called. */
const metadata = { name: 'closed', namespace: 'called' };
const closed = read('NetworkPolicy', 'networking.k8s.io/v1', metadata, { podSelector: {} }).policies[0]!;

interface Change {
  readonly what: string;
  readonly start?: (rules: LiveRules) => void;
  readonly one: (rules: LiveRules) => void;
  readonly other: (rules: LiveRules) => void;
}

const priorities = (first: string, last: string) => (rules: LiveRules) => {
  cluster(rules, first, 10, { ingress: [rule('Deny', 'from', named('caller'))] });
  cluster(rules, 'between', 20, { ingress: [rule('Accept', 'from', {})] });
  cluster(rules, last, 30, { ingress: [rule('Deny', 'from', named('caller'))] });
};

/** Namespaces that there are none of: a selector that asks for no label, so that its rules are not looked up at once. */
const nobody = (number: string) => ({
  namespaces: {
    matchExpressions: [
      { key: 'kubernetes.io/metadata.name', operator: 'DoesNotExist' },
      { key: 'number', operator: 'NotIn', values: [number] },
    ],
  },
});

/**
 * Rules that match nothing, so that a packet is long under way between those before and
 * after them: neighbours that cannot become one.
 */
function farApart(rules: LiveRules): void {
  for (let i = 0; i < 20; i++)
    cluster(rules, `between-${i}`, 100 + i, {
      ingress: Array.from({ length: 24 }, (_, n) => {
        return { action: n % 2 === 0 ? 'Deny' : 'Pass', from: [nobody(`${i}-${n}`)] };
      }),
    });
}

/** As many rules with the action as a policy may have, for the teams from this one on. */
const forTeams = (action: string, first: number) => ({
  ingress: Array.from({ length: 25 }, (_, n) => rule(action, 'from', byTeam(`team-${first + n}`))),
});

/** Many rules for namespaces that there are none of, so that those beside them are looked up at once. */
const amongMany = (...rules: readonly object[]) => ({
  ingress: [
    ...rules,
    ...Array.from({ length: 20 }, (_, n) => rule(n % 2 === 0 ? 'Deny' : 'Pass', 'from', byTeam(`none-${n}`))),
  ],
});

const onPort = { protocols: ['tcp', 'udp'].map(protocol => ({ [protocol]: { destinationPort: { number: PORT } } })) };

const teams = (team: string) => (rules: LiveRules) => rules.setNamespace('caller', new Map([['team', team]]));

const changes: readonly Change[] = [
  { what: 'priorities are swapped', one: priorities('x', 'y'), other: priorities('y', 'x') },
  {
    what: 'a denial at the one end takes the place of one at the other',
    one: rules => {
      withoutCluster(rules, 'at-called');
      cluster(rules, 'at-caller', 10, { egress: [rule('Deny', 'to', named('called'))] });
    },
    other: rules => {
      withoutCluster(rules, 'at-caller');
      cluster(rules, 'at-called', 10, { ingress: [rule('Deny', 'from', named('caller'))] });
    },
  },
  {
    what: 'a namespace is relabelled, and is denied by a rule that was asked before',
    start: rules => {
      farApart(rules);
      cluster(rules, 'first', 10, { ingress: [rule('Deny', 'from', byTeam('blue'))] });
      cluster(rules, 'last', 900, { ingress: [rule('Deny', 'from', byTeam('red'))] });
    },
    one: teams('red'),
    other: teams('blue'),
  },
  {
    what: 'a namespace is relabelled, and is denied by one of many rules that are looked up at once',
    start: rules => {
      farApart(rules);
      cluster(rules, 'first', 10, amongMany(rule('Deny', 'from', byTeam('blue'))));
      cluster(rules, 'last', 900, { ingress: [rule('Deny', 'from', byTeam('red'))] });
    },
    one: teams('red'),
    other: teams('blue'),
  },
  {
    what: 'a namespace is relabelled, and is denied on all ports that was denied on one, by many rules that are looked up at once',
    start: rules => {
      farApart(rules);
      cluster(rules, 'first', 10, amongMany({ ...rule('Deny', 'from', byTeam('blue')), ...onPort }));
      cluster(rules, 'last', 900, { ingress: [rule('Deny', 'from', byTeam('red'))] });
    },
    one: teams('red'),
    other: teams('blue'),
  },
  {
    what: 'a namespace is relabelled, and is denied by another of many rules that are looked up at once',
    start: rules => {
      cluster(rules, 'first', 10, amongMany(rule('Deny', 'from', byTeam('blue')), rule('Deny', 'from', byTeam('red'))));
      cluster(rules, 'last', 900, { ingress: [rule('Accept', 'from', {})] });
    },
    one: teams('red'),
    other: teams('blue'),
  },
  {
    what: 'a namespace is relabelled, and is denied by another of so many rules that they are told apart in several chains',
    start: rules => {
      for (const first of [0, 25, 50, 75]) cluster(rules, `from-${first}`, 10 + first, forTeams('Deny', first));
      cluster(rules, 'last', 900, { ingress: [rule('Accept', 'from', {})] });
    },
    one: teams('team-3'),
    other: teams('team-97'),
  },
  {
    what: 'many rules that deny pass on to as many of Baseline that deny then',
    start: teams('team-3'),
    one: rules => {
      cluster(rules, 'admin', 10, forTeams('Pass', 0));
      cluster(rules, 'baseline', 0, { tier: 'Baseline', ...forTeams('Deny', 0) });
    },
    other: rules => {
      cluster(rules, 'admin', 10, forTeams('Deny', 0));
      cluster(rules, 'baseline', 0, { tier: 'Baseline', ...forTeams('Accept', 0) });
    },
  },
  {
    what: 'a policy of many rules that deny is renamed',
    start: rules => {
      teams('team-3')(rules);
      cluster(rules, 'last', 900, { ingress: [rule('Accept', 'from', {})] });
    },
    one: rules => {
      withoutCluster(rules, 'new');
      cluster(rules, 'old', 10, forTeams('Deny', 0));
    },
    other: rules => {
      withoutCluster(rules, 'old');
      cluster(rules, 'new', 10, forTeams('Deny', 0));
    },
  },
  {
    what: 'a namespace is relabelled, and what many rules passed on to a NetworkPolicy that denies, they deny',
    start: rules => {
      rules.setPolicy(closed);
      cluster(rules, 'first', 10, amongMany(rule('Deny', 'from', byTeam('blue')), rule('Pass', 'from', byTeam('red'))));
      farApart(rules);
      cluster(rules, 'last', 900, { ingress: [rule('Accept', 'from', {})] });
    },
    one: teams('red'),
    other: teams('blue'),
  },
  {
    what: 'a namespace is relabelled: now it is passed on to a NetworkPolicy that denies, now an earlier rule denies',
    start: rules => {
      rules.setPolicy(closed);
      farApart(rules);
      cluster(rules, 'first', 10, { ingress: [rule('Deny', 'from', byTeam('blue'))] });
      cluster(rules, 'last', 900, { ingress: [rule('Pass', 'from', byTeam('red')), rule('Accept', 'from', {})] });
    },
    one: teams('red'),
    other: teams('blue'),
  },
  {
    what: 'a tier comes where a NetworkPolicy goes, and the other way',
    one: rules => {
      rules.setPolicy(closed);
      withoutCluster(rules, 'tier');
    },
    other: rules => {
      rules.deletePolicy(closed);
      cluster(rules, 'tier', 10, { egress: [rule('Deny', 'to', named('called'))] });
    },
  },
];

const podAt = (pod: GatePod, namespace: string): LocalPod => ({ ...localPod(pod, 0), namespace });

/** The node, with its table as the agent keeps it. */
async function started(host: GateHost, rules: LiveRules) {
  const table = new LiveTable({
    ...{ store: new MapStore(), settings, rules, nft: host.nft },
    owner: { enforcer: 'agent', stateDir: '/state', policies: '/policies' },
    own: false,
    log: line => assert.fail(line),
    ...{ recover: () => ({}), isCarried: () => false, retag: () => {}, shrunk: () => {} },
  });
  for (const [i, namespace] of ['caller', 'called'].entries()) {
    const pod = podAt(host.pods[i]!, namespace);
    await table.bring(state => withPod(state, pod, () => false).state, { opening: [podKey(pod)] });
    host.tag(host.pods[i]!, table.state.pods[podKey(pod)]!.tag);
  }
  return table;
}

/** How many packets get through while it changes back and forth that often, and until the pod has sent enough. */
async function leaks({ start = () => {}, one, other }: Change): Promise<number> {
  using host = await GateHost.start(2);
  await using eager = new EagerPods({ isCeaseless: true });
  const [, b] = host.pods as [GatePod, GatePod];
  const rules = new LiveRules();
  for (const name of ['caller', 'called']) rules.setNamespace(name, new Map());
  start(rules);
  one(rules);
  const table = await started(host, rules);
  const targets = [formatAddress(b.addresses[4])];
  const id = await eager.start({ netns: host.host.path('/run/netns/pod1'), targets, port: PORT });
  for (let swaps = 0; swaps < SWAPS || (await eager.taken(id)) < SWAPS; swaps += 2)
    for (const change of [other, one]) {
      change(rules);
      assert.ok((await table.bring(state => state)) > 0, 'it changes something');
    }
  await eager.stop(id);
  host.settle();
  assert.equal(table.mended, 0);
  return b.end.take().filter(({ dport }) => dport === PORT).length;
}

for (const change of changes)
  test(`${change.what}: no packet gets through, however often`, async () => {
    assert.equal(await leaks(change), 0);
  });
