/** What cluster policies cost beside none: a connection, an ADD, and one pod more. */

import { desiredTable } from '../../lib/gate/desired.ts';
import { NodeRules } from '../../lib/gate/node-rules.ts';
import { emptyNode, type LocalPod, type NodeState, podKey, withPod } from '../../lib/gate/node-state.ts';
import { stepsBetween } from '../../lib/gate/steps.ts';
import { inNetns } from '../../lib/kernel/netns.ts';
import { Nft } from '../../lib/kernel/nft.ts';
import { createTable } from '../../lib/nft/transaction.ts';
import { LiveRules } from '../../lib/policy/compile/live.ts';
import { readManifests } from '../../lib/policy/manifest/manifest.ts';
import type { ClusterPolicy } from '../../lib/policy/model/cluster-policy.ts';
import { bothEnds } from './both-ends.ts';
import { makePods, type Pod } from './cni.ts';
import type { Part } from './main.ts';
import { interleave, type Times } from './measure.ts';
import { BenchNode } from './node.ts';
import { type ClusterPolicies, policiesForTheServer, policiesOfTheCluster, policyThatTells } from './policies.ts';
import { compared, type Row, single } from './report.ts';
import { type TwoPods, twoPods } from './two-pods.ts';
import { used, WarmPlace } from './warm.ts';

const part = 'tiers: 100 cluster policies of 25 rules';
const port = 8080;
const number = 100;
/** Of each node. */
const present = Number(process.env['TIERS_PODS'] ?? 100);
const everyone = { number, isForAll: true } as const;

/** Each beside the same node without cluster policies. */
const cases: Readonly<Record<string, ClusterPolicies>> = {
  'one of them selects the pods': { number, isForAll: false },
  'all select every pod, a port each': everyone,
  'all select every pod, no port': { ...everyone, shape: 'no port' },
  'all select every pod, the last rule accepts the client': { ...everyone, isAccepted: true },
  'all select every pod, ports and ranges of them, and all pods': { ...everyone, shape: 'mixed' },
};

/** One list of both. */
const together = (...lists: readonly string[]): string =>
  JSON.stringify({ apiVersion: 'v1', kind: 'List', items: lists.flatMap(text => JSON.parse(text).items) });

async function connections(say: (progress: string) => void): Promise<Row[]> {
  const own = policiesForTheServer(1, port);
  // A worker plugs in the pods of a node at once; an executable for each of them would take minutes.
  const crowded = async (policies: string): Promise<TwoPods> => {
    const place = await WarmPlace.start({}, policies);
    await place.addAll(makePods(present - 2), 8);
    return twoPods({ policies, place });
  };
  const none = await crowded(own);
  const ways = [];
  for (const [name, policies] of Object.entries(cases)) {
    say(name);
    const pods = await crowded(together(own, policiesOfTheCluster(policies)));
    ways.push({ name, pods, found: [] as number[] });
  }
  const base: number[] = [];
  for (let run = 0; run < 7; run++) {
    say(`connections, run ${run}`);
    const [first, ...others] = bothEnds(60, [none, ...ways.map(({ pods }) => pods)]);
    base.push(first!.connection);
    for (const [i, { connection }] of others.entries()) ways[i]!.found.push(connection);
  }
  return ways.map(({ name, found }) =>
    compared({ part, what: `a connection: ${name}`, unit: 'µs' }, found, 'none of them', base, { atMost: 1.03 }),
  );
}

/** Two workers that do the same differ by up to a tenth for as long as they live, so there are several of each kind. */
const workers = 3;
const rounds = 20;
/** Labels of pods that ADD and DEL are measured with. */
const subjects = {
  'that no rule is for': 'plain',
  'that rules accept and deny, by port': 'mixed',
  'that no rule is for and no other is like': 'unlike',
} as const;

const likes = (pods: readonly Pod[], app: string): Pod[] =>
  pods.map(pod => ({ ...pod, namespace: 'ns0', labels: { app } }));

async function inhabited(policies: string | undefined): Promise<WarmPlace> {
  const place = await WarmPlace.start({}, policies);
  const alike = Object.values(subjects).flatMap(app => (app === 'unlike' ? [] : likes(makePods(1), app)));
  await place.addAll([...makePods(present - alike.length), ...alike], 8);
  return await used(
    place,
    Object.values(subjects).flatMap(app => likes(makePods(25), app)),
  );
}

async function adds(say: (progress: string) => void): Promise<Row[]> {
  const places: WarmPlace[] = [];
  for (let i = 0; i < workers; i++) {
    say(`nodes for ADD, ${i + 1} of ${workers}`);
    places.push(
      await inhabited(together(policiesOfTheCluster(everyone), policyThatTells('mixed'))),
      await inhabited(undefined),
    );
  }
  return Object.entries(subjects).flatMap(([which, app]) => {
    say(`ADD of a pod ${which}`);
    const times = interleave(places, rounds, likes(makePods(places.length), app));
    const [beside, without] = [0, 1].map(kind => times.filter((_, i) => i % 2 === kind)) as [Times[], Times[]];
    const row = (what: string, of: keyof Times, target?: { readonly atMost: number }): Row => {
      const measured = { part, what: `${what}, a pod ${which}`, unit: 'ms' } as const;
      const [ours, theirs] = [beside, without].map(found => found.flatMap(each => each[of])) as [number[], number[]];
      return compared(measured, ours, 'none of them', theirs, target);
    };
    return [
      row('ADD', 'add', { atMost: 1.05 }),
      row('DEL', 'del'),
      row("both, the worker's processor time", 'processor'),
    ];
  });
}

const settings = { judge: 'inline', nflogGroup: 7467, enforceEgressToNode: false } as const;
const owner = { enforcer: 'inline', stateDir: '/run/bench', policies: '/run/bench' };

/** Pods that rules are for: every one of them brings elements. */
const podOf = (i: number): Omit<LocalPod, 'tag'> => ({
  ...{ network: 'bench', containerID: `pod${i}`, ifname: 'eth0', link: `tg${i}`, namespace: 'bench', name: `pod${i}` },
  ...{ labels: { app: `before-${i % 50}-3` }, given: { config: {}, call: {} }, namedPorts: [], hostPorts: [] },
  addresses: [`10.80.${i >> 8}.${i & 255}`],
});

/** A node's table with all pods beside the cluster policies, as a process that stays keeps it. */
function tableOf(policies: readonly ClusterPolicy[]) {
  const node = new BenchNode();
  const kernel = inNetns(node.netns, () => Nft.open());
  const live = new LiveRules();
  for (const policy of policies) live.setClusterPolicy(policy);
  const rules = new NodeRules(live);
  let state: NodeState = emptyNode(owner, settings);
  for (let i = 0; i < present; i++) state = withPod(state, podOf(i), () => false).state;
  rules.show(state);
  const { after } = rules.take()!;
  kernel.commit(createTable(desiredTable(state, 1, after)));
  return { kernel, live, rules, state };
}

const policiesIn = (text: string): readonly ClusterPolicy[] =>
  readManifests([{ file: 'bench', document: 0, value: JSON.parse(text) as unknown }]).world.clusterPolicies ?? [];

/** There and back again: what differs is worked out, and committed. */
function onePodMore(): Row[] {
  const { kernel, rules, state } = tableOf(policiesIn(policiesOfTheCluster(everyone)));
  using _ = kernel;
  const more = withPod(state, podOf(250), () => false).state;
  const [work, commit]: [number[], number[]] = [[], []];
  const become = (before: NodeState, next: NodeState, round: number): void => {
    const start = performance.now();
    rules.show(next);
    const steps = stepsBetween({ before, after: next }, { change: rules.take(), markers: [], isRecorded: false });
    const decided = performance.now();
    for (const { transaction } of steps) kernel.commit(transaction);
    if (round < 0 || next !== more) return;
    work.push(decided - start);
    commit.push(performance.now() - decided);
  };
  for (let round = -20; round < 60; round++) {
    become(state, more, round);
    become(more, state, round);
  }
  if (!(podKey(podOf(250) as LocalPod) in more.pods)) throw new Error('Cannot add a pod more');
  return [
    single({ part, what: 'one pod more of a known identity: its transaction', unit: 'ms' }, commit, { atMost: 0.1 }),
    single({ part, what: 'the same: working it out', unit: 'ms' }, work),
  ];
}

/** A rule of one policy is another one, and then the same again. @param place of the rule in its policy */
function oneRuleChanged(what: string, place: number): Row[] {
  const policies = policiesIn(policiesOfTheCluster(everyone));
  const { kernel, live, rules, state } = tableOf(policies);
  using _ = kernel;
  const policy = policies[number / 2]!;
  const changed = {
    ...policy,
    ingress: policy.ingress.with(place, { ...policy.ingress[place]!, ports: [{ protocol: 'TCP', first: 9, last: 9 }] }),
  } as const;
  const [work, commit]: [number[], number[]] = [[], []];
  for (let round = -4; round < 16; round++) {
    const start = cpuMs();
    live.setClusterPolicy(round % 2 === 0 ? changed : policy);
    const pair = { before: state, after: state };
    const steps = stepsBetween(pair, { change: rules.take(), markers: [], isRecorded: false });
    const decided = cpuMs();
    for (const { transaction } of steps) kernel.commit(transaction);
    if (round < 0) continue;
    work.push(decided - start);
    commit.push(cpuMs() - decided);
  }
  return [
    single({ part, what: `${what} is another: working it out, processor time`, unit: 'ms' }, work),
    single({ part, what: 'the same: its transaction, processor time', unit: 'ms' }, commit),
  ];
}

function cpuMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

export const tiers: Part = async say => {
  say('one pod more');
  const more = onePodMore();
  say('one rule changed');
  const changed = [...oneRuleChanged('a rule that accepts', 3), ...oneRuleChanged('a rule that denies', 4)];
  return [...(await connections(say)), ...(await adds(say)), ...more, ...changed];
};
