import { TABLE } from '../../gate/desired.ts';
import { identityOf, type LocalPod } from '../../gate/node-state.ts';
import { NetlinkError } from '../../kernel/message.ts';
import { holderOf, PacketLog } from '../../kernel/nflog.ts';
import { Nft } from '../../kernel/nft.ts';
import { NFNLGRP, Subscription } from '../../kernel/subscription.ts';
import { decodeRuleCounts, type RuleCount } from '../../nft/decode.ts';
import { tableNameIn } from '../../nft/query.ts';
import { messageType, NFT_MSG } from '../../nft/wire.ts';
import { manifestsOf } from '../../nodestore/policy-folder.ts';
import { localAddresses } from '../../pod/here.ts';
import { type NetworkPolicy, policyRef } from '../../policy/model/model.ts';
import { selects } from '../../policy/model/selector.ts';
import { command, exit, outputOption, print, warn } from '../command.ts';
import { type Live, liveOptions, openLive } from '../live.ts';
import { keptOf } from '../policy/judged.ts';
import { Denials, type DeniedFlow, type DeniedSum, type DropCounter, type NodeNames } from './denied.ts';

/** Milliseconds between two looks at the counters. */
const LOOK = 1000;
/** How often the agent is asked for what it has heard, in milliseconds. */
const REFRESH = 10_000;

/** What the node's files say of addresses and chains: an address may be another pod's by now, a chain other policies'. */
async function namesOf(live: Live, runDir: string): Promise<NodeNames & { readonly refresh: () => Promise<void> }> {
  const { here, found } = live;
  const isAgents = found?.owner.enforcer === 'agent';
  let heard = isAgents ? await keptOf(live, runDir) : undefined;
  const { table } = here.hook;
  let pods = new Map<string, LocalPod>();
  let chains = new Map<string, readonly string[]>();
  let policies = new Map<string, NetworkPolicy>();
  let local = new Set<string>();
  let stamp: string | undefined;
  const read = () => {
    const now = table.stamp();
    if (now === stamp) return;
    stamp = now;
    local = localAddresses(here.host);
    const file = table.peek();
    if (!file) return;
    const kept = heard ?? table.readApplied();
    const { chains: compiled } = table.ruleset({ state: file.state, kept });
    chains = new Map([...compiled].map(([name, chain]) => [name, chain.policies]));
    policies = new Map(manifestsOf(kept).world.policies.map(policy => [policyRef(policy), policy]));
    const all = Object.values(file.state.pods);
    pods = new Map(all.flatMap(pod => pod.addresses.map((address): [string, LocalPod] => [address, pod])));
  };
  const isolates = (ref: string, pod: LocalPod): boolean => {
    const policy = policies.get(ref);
    return policy?.namespace === pod.namespace && selects(policy.subject, identityOf(pod).labels);
  };
  return {
    async refresh() {
      if (!isAgents) return;
      heard = await keptOf(live, runDir);
      stamp = undefined;
    },
    who: address => {
      read();
      const pod = pods.get(address);
      if (pod) return `${pod.namespace}/${pod.name}`;
      return local.has(address) ? 'node' : address;
    },
    policies: (chain, subject) => {
      read();
      const all = chains.get(chain) ?? [];
      const pod = subject === undefined ? undefined : pods.get(subject);
      return pod ? all.filter(ref => isolates(ref, pod)) : all;
    },
  };
}

const tableName = { family: 'inet', name: TABLE } as const;

/** Packets that the end of each denying chain has dropped; no other rule of theirs counts for itself. */
const denying = (counts: readonly RuleCount[]): DropCounter[] =>
  counts
    .filter(({ chain }) => /^(in-|out-|ingress$|egress$)/.test(chain))
    .map(({ chain, rule, counted }) => ({ chain, rule, packets: Number(counted.packets) }));

const countersOf = (nft: Nft): DropCounter[] => denying(nft.readRuleCounts(tableName));

/** What the denying rules have counted that a change of policy takes out, as they go. */
const watchRemovals = (onGone: (counter: DropCounter) => void): Subscription =>
  new Subscription('netfilter', [NFNLGRP.NFTABLES], {
    mayMiss: true,
    onMessage: ({ type, body }) => {
      if (type !== messageType(NFT_MSG.DELRULE) || tableNameIn(body) !== TABLE) return;
      for (const counter of denying(decodeRuleCounts([body]))) onGone(counter);
    },
    // The counters are looked at anyway: only what was counted since the last look and the end of a chain is missed.
    onLost: () => {},
  });

const clock = (seconds: number): string => new Date(seconds * 1000).toISOString().slice(11, 23);
const end = (name: string, address: string): string => (name === address ? address : `${name} (${address})`);
const because = (by: readonly string[]): string =>
  by.length === 0 ? 'the gate does not know its tag' : `denied by ${by.join(', ')}`;

function flowText(flow: DeniedFlow): string {
  const port = flow.port === null ? '' : ` ${flow.port}`;
  const ends = `${end(flow.from, flow.source)} → ${end(flow.to, flow.destination)}`;
  return `${clock(flow.time)}  ${ends}${port}/${flow.protocol}  ${flow.direction} ${because(flow.by)}`;
}

const sumText = ({ time, packets, direction, by }: DeniedSum): string =>
  `${clock(time)}  and ${packets} more ${packets === 1 ? 'packet' : 'packets'}  ${direction} ${because(by)}`;

async function holdLog(log: PacketLog, group: number): Promise<void> {
  try {
    await log.ready;
  } catch (error) {
    const holder =
      error instanceof NetlinkError && ['EPERM', 'EBUSY'].includes(error.code) ? holderOf(group) : undefined;
    throw holder ? new Error(`Cannot read nflog group ${group}: ${holder} holds it, and only one process can`) : error;
  }
}

interface Printed {
  readonly flow: (flow: DeniedFlow) => void;
  readonly sum: (sum: DeniedSum) => void;
}

const printers: Readonly<Record<string, Printed>> = {
  text: { flow: flow => print(flowText(flow)), sum: sum => print(sumText(sum)) },
  json: {
    flow: flow => print(JSON.stringify({ kind: 'flow', ...flow })),
    sum: sum => print(JSON.stringify({ kind: 'sum', ...sum })),
  },
};

/** Until the signal. */
async function watch(
  live: Live,
  { group, runDir }: { readonly group: number; readonly runDir: string },
  printed: Printed,
  stop: AbortSignal,
): Promise<void> {
  const names = await namesOf(live, runDir);
  const denials = new Denials();
  using nft = Nft.open();
  using _removals = watchRemovals(counter => denials.close(counter));
  denials.begin(countersOf(nft));
  const { promise: ended, resolve, reject } = Promise.withResolvers<void>();
  using log = new PacketLog(group, {
    onPacket: packet => {
      const flow = denials.take(packet, names);
      if (flow) printed.flow(flow);
    },
    onEnd: reject,
  });
  await holdLog(log, group);
  const look = () => {
    for (const sum of denials.sum(countersOf(nft), Date.now() / 1000, names)) printed.sum(sum);
  };
  // After what has come by now was read, however long we were held up.
  const timer = setInterval(() => setImmediate(look), LOOK);
  // While the agent is away, what it said last must do.
  const refreshing = setInterval(() => void names.refresh().catch(() => undefined), REFRESH);
  stop.addEventListener('abort', () => resolve(), { once: true });
  try {
    if (!stop.aborted) await ended;
  } finally {
    clearInterval(timer);
    clearInterval(refreshing);
  }
  look();
  // What the kernel has gathered, but not sent yet, would be summed up as unseen.
  await new Promise(done => setTimeout(done, 200));
  await new Promise(done => setImmediate(done));
  look();
}

export const flows = command(
  'flows',
  'Show connections that policy denies, as they are tried',
  parser =>
    parser
      .options({
        denied: { type: 'boolean', default: true, describe: 'Those that were denied; the node logs no others' },
        follow: { alias: 'f', type: 'boolean', default: false, describe: 'Until interrupted' },
        seconds: { type: 'number', default: 10, describe: 'How long to look, without --follow', requiresArg: true },
        ...outputOption,
        ...liveOptions,
      })
      .example('$0 flows --denied --follow', 'each denied flow, with the policies that denied it')
      .example('$0 flows --denied --seconds 1 -o json', 'a line of JSON each, for a script')
      .epilog(
        'A flow is shown once in ten seconds, however often it is tried. The kernel logs 100 packets a second of each chain; what it counted beyond that is summed up.',
      ),
  async options => {
    using live = openLive(options, warn);
    if (!live.found) throw new Error('Cannot show flows: no pod is plugged in in this network namespace');
    const interrupted = new AbortController();
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => interrupted.abort());
    const limit = options.follow ? [] : [AbortSignal.timeout(options.seconds * 1000)];
    await watch(
      live,
      { group: live.found.settings.nflogGroup, runDir: options.runDir },
      printers[options.output]!,
      AbortSignal.any([interrupted.signal, ...limit]),
    );
    return exit.yes;
  },
);
