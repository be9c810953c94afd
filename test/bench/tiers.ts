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
import type { Times } from './measure.ts';
import { BenchNode } from './node.ts';
import { type ClusterPolicies, policiesForTheServer, policiesOfTheCluster, policyThatTells } from './policies.ts';
import { compared, median, paired, type Row, single } from './report.ts';
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

/**
 * Two workers that do the same differ by up to a fifth for as long as they live, which is more than what is asked for: so each
 * worker has the policies in its folder and has them not, in turn, and each turn is held against the one beside it.
 */
const workers = 6;
const turns = 20;
const callsATurn = 40;
/** Calls after a turn's change of policies that do not count. */
const WARMUP = 8;
/** Labels of pods that ADD and DEL are measured with. */
const subjects = {
  'that no rule is for': 'plain',
  'that rules accept and deny, by port': 'mixed',
  'that no rule is for and no other is like': 'unlike',
} as const;
const apps = Object.values(subjects);
type App = (typeof apps)[number];

const likes = (pods: readonly Pod[], app: string): Pod[] =>
  pods.map(pod => ({ ...pod, namespace: 'ns0', labels: { app } }));

async function inhabited(policies: string): Promise<WarmPlace> {
  const place = await WarmPlace.start({}, policies);
  const alike = apps.flatMap(app => (app === 'unlike' ? [] : likes(makePods(1), app)));
  await place.addAll([...makePods(present - alike.length), ...alike], 8);
  return await used(
    place,
    apps.flatMap(app => likes(makePods(25), app)),
  );
}

type Turn = Readonly<Record<App, Times>>;

/** Medians of a turn's calls; of the processor's time the mean, which is told in coarse steps. */
function turnAt(place: WarmPlace, pods: Readonly<Record<App, Pod>>, policies: string): Turn {
  place.node.write('policies/all.json', policies);
  const turn = Object.fromEntries(apps.map(app => [app, { add: [], del: [], processor: [] }])) as unknown as Turn;
  for (let call = -WARMUP; call < callsATurn; call++)
    for (const app of apps) {
      const spent = place.spent();
      const [add, del] = [place.add(pods[app]).ms, place.del(pods[app]).ms];
      if (call < 0) continue;
      turn[app].add.push(add);
      turn[app].del.push(del);
      turn[app].processor.push(place.spent() - spent);
    }
  return turn;
}

const mean = (numbers: readonly number[]): number => numbers.reduce((a, b) => a + b) / numbers.length;
const ofTurn = { add: median, del: median, processor: mean } as const;

async function adds(say: (progress: string) => void): Promise<Row[]> {
  const beside = together(policiesOfTheCluster(everyone), policyThatTells('mixed'));
  const pairs: (readonly [Turn, Turn])[] = [];
  for (let worker = 1; worker <= workers; worker++) {
    say(`ADD by worker ${worker} of ${workers}`);
    const place = await inhabited(beside);
    const pods = Object.fromEntries(apps.map(app => [app, likes(makePods(1), app)[0]!])) as Record<App, Pod>;
    const told = Array.from({ length: turns }, (_, turn) => turnAt(place, pods, turn % 2 === 0 ? beside : together()));
    for (let i = 1; i < told.length; i++) pairs.push(i % 2 === 0 ? [told[i]!, told[i - 1]!] : [told[i - 1]!, told[i]!]);
  }
  return Object.entries(subjects).flatMap(([which, app]) => {
    const row = (what: string, of: keyof Times, target?: { readonly atMost: number }): Row => {
      const measured = { part, what: `${what}, a pod ${which}`, unit: 'ms' } as const;
      const [ours, theirs] = [0, 1].map(i => pairs.map(pair => ofTurn[of](pair[i]![app][of]))) as [number[], number[]];
      return paired(measured, ours, 'none of them', theirs, target);
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
