/** What a transaction costs: ours in a process that runs already, and `nft -f -`, which is a process of its own. */

import { desiredTable } from '../../lib/gate/desired.ts';
import { emptyNode, identityOf, type LocalPod, type NodeState, podKey, withPod } from '../../lib/gate/node-state.ts';
import { rulesetOfNode } from '../../lib/gate/node-world.ts';
import { type Family, parseAddress } from '../../lib/ip/address.ts';
import { inNetns } from '../../lib/kernel/netns.ts';
import { Nft } from '../../lib/kernel/nft.ts';
import { diff } from '../../lib/nft/diff.ts';
import type { Chain, Element, Table } from '../../lib/nft/model.ts';
import { COUNTER, DROP, goto, inSet, match, RETURN, rule, vmap } from '../../lib/nft/statements.ts';
import { formatTransaction } from '../../lib/nft/text.ts';
import { createTable, type Transaction } from '../../lib/nft/transaction.ts';
import { manifestsOf } from '../../lib/nodestore/policy-folder.ts';
import type { World } from '../../lib/policy/model/model.ts';
import { identityKey } from '../../lib/tag/identity.ts';
import type { Part } from './main.ts';
import { BenchNode } from './node.ts';
import { compared, type Row, single } from './report.ts';

const part = 'nft: one transaction, in a process that runs already';
const rounds = 15;

const address = (i: number, family: Family = 4) =>
  parseAddress(family === 4 ? `10.${(i >> 16) & 255}.${(i >> 8) & 255}.${i & 255}` : `fd00::${i.toString(16)}`)!;

const tableOf = (content: Partial<Table>): Table => ({
  family: 'inet',
  name: 'bench',
  chains: [],
  sets: [],
  counters: [],
  ...content,
});

/** One set of addresses. */
const elements = (number: number): Table =>
  tableOf({
    sets: [
      {
        name: 'peers',
        key: ['ipv4_addr'],
        elements: Array.from({ length: number }, (_, i): Element => ({ key: [address(i)] })),
      },
    ],
  });

/** So many pods' chains of four rules each, and the map that leads to them. */
function chains(number: number): Table {
  const own = Array.from(
    { length: number },
    (_, i): Chain => ({
      name: `in-${i}`,
      rules: [
        rule([inSet('ip saddr', 'peers'), match('tcp dport', '==', 1000 + i), COUNTER, RETURN]),
        rule([match('ip saddr', '==', address(i)), match('tcp dport', '==', { first: 80, last: 90 }), RETURN]),
        rule([match('udp dport', '==', 53), RETURN]),
        rule([COUNTER, DROP]),
      ],
    }),
  );
  const map = {
    name: 'by_tag',
    key: ['devgroup'] as const,
    value: 'verdict' as const,
    elements: own.map(({ name }, i): Element => ({ key: [0x74670001 + i], value: goto(name) })),
  };
  const gate: Chain = {
    name: 'gate',
    base: { type: 'filter', hook: 'forward', priority: 0, policy: 'accept' },
    rules: [rule([vmap('meta oifgroup', 'by_tag')])],
  };
  return tableOf({ chains: [gate, ...own], sets: [...elements(100).sets, map] });
}

const removal: Transaction = { family: 'inet', table: 'bench', operations: [{ verb: 'delete', object: 'table' }] };

function timed(work: () => void): number {
  const start = performance.now();
  work();
  return performance.now() - start;
}

/** The table is a value in both cases: ours is encoded in the time, nft's text was written before it. */
function wholeTable(node: BenchNode, kernel: Nft, what: string, table: Table): Row {
  const transaction = createTable(table);
  const input = formatTransaction(transaction);
  const nft = { command: '/usr/sbin/nft', args: ['-f', '-'], input };
  const [own, theirs]: [number[], number[]] = [[], []];
  for (let round = -2; round < rounds; round++) {
    const ours = () => {
      const ms = timed(() => kernel.commit(transaction));
      kernel.commit(removal);
      if (round >= 0) own.push(ms);
    };
    const peers = () => {
      const { ms } = node.run(nft);
      kernel.commit(removal);
      if (round >= 0) theirs.push(ms);
    };
    for (const turn of round % 2 === 0 ? [ours, peers] : [peers, ours]) turn();
  }
  return compared({ part, what, unit: 'ms' }, own, 'nft -f -', theirs, { atMost: 1 });
}

export function podOf(i: number, app = i): Omit<LocalPod, 'tag'> {
  const labels = { app: `app${app}` };
  return {
    network: 'bench',
    containerID: `pod${i}`,
    ifname: 'eth0',
    link: `tg${i}`,
    namespace: 'bench',
    name: `pod${i}`,
    labels,
    given: { config: {}, call: labels },
    namedPorts: [],
    addresses: [`10.80.${i >> 8}.${i & 255}`],
    masquerade: { from: ['10.80.0.0/16'], except: ['10.80.0.0/16'] },
    hostPorts: [],
  };
}

/** A policy for every pod: four allow rules in its chain, for two peers by label, of 50 kinds, in either family, and a port. */
export const policyFor = (i: number) => ({
  apiVersion: 'networking.k8s.io/v1',
  kind: 'NetworkPolicy',
  metadata: { namespace: 'bench', name: `policy${i}` },
  spec: {
    podSelector: { matchLabels: { app: `app${i}` } },
    ingress: [0, 1].map(n => ({
      from: [{ podSelector: { matchLabels: { app: `app${(i * 2 + n) % 50}` } } }],
      ports: [{ port: 1000 + i }],
    })),
  },
});

function worldWith(policies: number): World {
  const documents = Array.from({ length: policies }, (_, i) => ({
    file: 'bench',
    document: i + 1,
    value: policyFor(i),
  }));
  return manifestsOf({ bench: { stamp: '', documents } }).world;
}

const settings = { judge: 'inline', nflogGroup: 7467, enforceEgressToNode: false } as const;
const owner = { enforcer: 'inline', stateDir: '/run/bench', policies: '/run/bench' };
const never = () => false;

function nodeWith(pods: number): NodeState {
  const all = Array.from({ length: pods }, (_, i): LocalPod => ({ ...podOf(i), tag: 0x74670001 + i }));
  const tags = Object.fromEntries(all.map(pod => [identityKey(identityOf(pod)), pod.tag]));
  const byKey = Object.fromEntries(all.map(pod => [podKey(pod), pod]));
  return { ...emptyNode(owner, settings), pods: byKey, tags, next: 0x74670001 + pods };
}

/** There and back again; only the way there is timed. */
function onePodMore(kernel: Nft, state: NodeState, before: Table, world: World, app: number): number[] {
  const { state: more } = withPod(state, podOf(60_000, app), never);
  const after = desiredTable(more, 2, rulesetOfNode(world, more));
  const [there, back] = [diff(before, after), diff(after, before)];
  const times: number[] = [];
  for (let round = -5; round < 3 * rounds; round++) {
    const ms = timed(() => kernel.commit(there));
    kernel.commit(back);
    if (round >= 0) times.push(ms);
  }
  return times;
}

function morePods(kernel: Nft, number: number): Row[] {
  const world = worldWith(number + 1);
  const state = nodeWith(number);
  const before = desiredTable(state, 1, rulesetOfNode(world, state));
  kernel.commit(createTable(before));
  const limits = { 0: [1, 0.5], 1000: [1, 0.5], 5000: [10, 0.5] }[number] ?? [];
  const target = (limit: number | undefined) => (limit === undefined ? undefined : { atMost: limit });
  const where = `with ${number} pods' worth of rules`;
  const rows = [
    single(
      { part, what: `one pod more ${where}, identity new`, unit: 'ms' },
      onePodMore(kernel, state, before, world, number),
      target(limits[0]),
    ),
  ];
  if (number > 0)
    rows.push(
      single(
        { part, what: `one pod more ${where}, identity known`, unit: 'ms' },
        onePodMore(kernel, state, before, world, 7),
        target(limits[1]),
      ),
    );
  kernel.commit({ ...removal, table: before.name });
  return rows;
}

export const nft: Part = async say => {
  const node = new BenchNode();
  using kernel = inNetns(node.netns, () => Nft.open());
  const rows: Row[] = [];
  for (const [what, table] of [
    ['1,000 set elements', elements(1000)],
    ['10,000 set elements', elements(10_000)],
    ['1,000 chains of 4 rules, and their map', chains(1000)],
  ] as const) {
    say(what);
    rows.push(wholeTable(node, kernel, what, table));
  }
  for (const number of [0, 1000, 5000]) {
    say(`one pod more, with ${number}`);
    rows.push(...morePods(kernel, number));
  }
  return rows;
};
