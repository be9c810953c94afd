import { TABLE } from '../enforce/desired.ts';
import { NetlinkError } from '../kernel/message.ts';
import { holderOf, PacketLog } from '../kernel/nflog.ts';
import { Nft } from '../kernel/nft.ts';
import { localAddresses } from '../pod/here.ts';
import { command, exit, outputOption, print } from './command.ts';
import { Denials, type DeniedFlow, type DeniedSum, type Names } from './denied.ts';
import { type Live, liveOptions, openLive, warn } from './live.ts';

/** Milliseconds between two looks at the counters. */
const LOOK = 1000;

/** What the node's file says of addresses and chains, read again when somebody asks for one that is not known. */
function namesOf({ here }: Live): Names {
  const { table } = here.hook;
  let pods = new Map<string, string>();
  let chains = new Map<string, readonly string[]>();
  const read = () => {
    const file = table.peek();
    if (!file) return;
    const { chains: compiled } = table.ruleset({ state: file.state, kept: table.readApplied() });
    chains = new Map([...compiled].map(([name, { policies }]) => [name, policies]));
    pods = new Map(
      Object.values(file.state.pods).flatMap(pod =>
        pod.addresses.map((address): [string, string] => [address, `${pod.namespace}/${pod.name}`]),
      ),
    );
  };
  const local = localAddresses(here.host);
  read();
  return {
    who: address => {
      if (!pods.has(address) && !local.has(address)) read();
      return pods.get(address) ?? (local.has(address) ? 'node' : address);
    },
    policies: chain => {
      if (!chains.has(chain) && /^(in|out)-/.test(chain)) read();
      return chains.get(chain) ?? [];
    },
  };
}

/** Packets that the end of each denying chain has dropped. */
function countersOf(nft: Nft): Map<string, number> {
  const counters = new Map<string, number>();
  for (const [chain, counted] of nft.read({ family: 'inet', name: TABLE })?.ruleCounters ?? []) {
    const last = counted.at(-1);
    if (last && /^(in-|out-|ingress$|egress$)/.test(chain)) counters.set(chain, Number(last.packets));
  }
  return counters;
}

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
async function watch(live: Live, group: number, printed: Printed, stop: AbortSignal): Promise<void> {
  const names = namesOf(live);
  const denials = new Denials();
  using nft = Nft.open();
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
  const timer = setInterval(look, LOOK);
  stop.addEventListener('abort', () => resolve(), { once: true });
  try {
    if (!stop.aborted) await ended;
  } finally {
    clearInterval(timer);
  }
  // What the kernel has gathered, but not sent yet, would be summed up as unseen.
  await new Promise(done => setTimeout(done, 200));
  look();
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
    const limit = AbortSignal.timeout(options.follow ? 2 ** 31 - 1 : options.seconds * 1000);
    await watch(
      live,
      live.found.settings.nflogGroup,
      printers[options.output]!,
      AbortSignal.any([interrupted.signal, limit]),
    );
    return exit.yes;
  },
);
