/**
 * What it costs to record flows: of the agent's processor time for each connection, of
 * its memory, and until one is on the screen.
 */
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import type { FlowRecord } from '../../../lib/flows/model.ts';
import { NetlinkSocket } from '../../../lib/kernel/netlink.ts';
import { type Agent, command, startAgent } from '../../support/agent-process.ts';
import { live } from '../../support/cli-host.ts';
import { tollgate } from '../../support/cni.ts';
import { insertedConnections } from '../../support/conntrack-counters.ts';
import { deleteFlows, listFlows } from '../../support/listed-flows.ts';
import { type PluggedPod, PolicyHost } from '../../support/policy-host.ts';
import { type OpenedFlow, openFlows } from '../../support/tracked-flows.ts';
import { until } from '../../support/until.ts';
import type { LoadGroup, LoadRow } from '../load-report.ts';
import { processorMs } from '../measure.ts';

/** Seconds at each rate, and the rates: connections a second that begin and end. */
const SECONDS = 60;
const rates = [100, 5_000] as const;
const BATCH = 100;
const SCREENS = 20;

/** Seconds in which nothing happens. */
const SILENT = 20;

const cpuSecondsOf = (pid: number): number => processorMs(pid) / 1000;

const mebibytesOf = (pid: number): number =>
  Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]) / 1024;

interface Node {
  readonly host: PolicyHost;
  readonly web: PluggedPod;
  readonly client: PluggedPod;
  readonly socket: NetlinkSocket;
}

/** Connections begin and end by the kernel's own table: this row does not ask what a packet costs. */
async function churn({ web, client, socket }: Node, rate: number): Promise<void> {
  const [from, to] = [client.addresses[4], web.addresses[4]];
  const start = performance.now();
  let opened = 0;
  while (performance.now() - start < SECONDS * 1000) {
    const due = Math.min(Math.floor(((performance.now() - start) * rate) / 1000) - opened, rate);
    if (due >= Math.min(BATCH, rate / 10)) {
      const sport = (i: number): number => 1 + ((opened + i) % 60_000);
      const flows = Array.from({ length: due }, (_, i): OpenedFlow => ({ from, to, sport: sport(i), dport: 80 }));
      openFlows(socket.exchange, flows);
      deleteFlows(socket.exchange, listFlows(socket.exchange, 4));
      opened += due;
    }
    await delay(5);
  }
}

async function totals({ host }: Node): Promise<Readonly<Record<'allowed' | 'lostEvents', number>>> {
  const text = await host.host.sh('curl -s --unix-socket /run/test/run/agent.sock http://agent/flows/status');
  return JSON.parse(text) as Record<'allowed' | 'lostEvents', number>;
}

interface Cost {
  /** Of a core, at that rate. */
  readonly percent: number;
  /** Connections, by the kernel's own counter; and those that are recorded, or told as lost. */
  readonly inserted: number;
  readonly told: number;
}

async function costAt(node: Node, agent: Agent, rate: number, isRecording: boolean): Promise<Cost> {
  const told = async (): Promise<number> => {
    if (!isRecording) return 0;
    const { allowed, lostEvents } = await totals(node);
    return allowed + lostEvents;
  };
  const [toldBefore, insertedBefore] = [await told(), insertedConnections(node.socket.exchange)];
  const start = cpuSecondsOf(agent.child.pid!);
  await churn(node, rate);
  await delay(2_000);
  const spent = cpuSecondsOf(agent.child.pid!) - start;
  const inserted = insertedConnections(node.socket.exchange) - insertedBefore;
  return { percent: (100 * spent * rate) / inserted, inserted, told: (await told()) - toldBefore };
}

/** Milliseconds from a packet to its line, the median. */
async function untilOnScreen({ host, web, client }: Node): Promise<number> {
  const child = host.host.spawn([tollgate, 'flows', '--follow', '-o', 'json', ...live]);
  const seen = new Map<number, number>();
  createInterface({ input: child.stdout! }).on('line', line => {
    const { sourcePort } = JSON.parse(line) as FlowRecord;
    if (sourcePort !== null) seen.set(sourcePort, performance.now());
  });
  const times: number[] = [];
  const one = async (): Promise<number> => {
    const packet = host.packet(client.addresses[4], web.addresses[4]);
    const start = performance.now();
    client.end.send(packet);
    return (await until('the line', () => seen.get(packet.sport!))) - start;
  };
  // Until it follows, nothing is shown.
  await until('the first line', async () => {
    client.end.send(host.packet(client.addresses[4], web.addresses[4]));
    await delay(100);
    return seen.size > 0;
  });
  for (let i = 0; i < SCREENS; i++) times.push(await one());
  child.kill('SIGTERM');
  return times.toSorted((a, b) => a - b)[SCREENS >> 1]!;
}

async function measured(say: (progress: string) => void, options: readonly string[]) {
  using host = await PolicyHost.start();
  using web = await host.plug('web');
  using client = await host.plug('client');
  using socket = host.inside(() => NetlinkSocket.open('netfilter'));
  const node = { host, web, client, socket };
  using agent = await startAgent(host.host, [...command, ...options]);
  const isRecording = options.length > 0;
  const costs: Cost[] = [];
  // What a process does once it has begun is over then.
  await delay(5_000);
  const before = cpuSecondsOf(agent.child.pid!);
  await delay(SILENT * 1000);
  const silent = (100 * (cpuSecondsOf(agent.child.pid!) - before)) / SILENT;
  for (const rate of rates) {
    say(`${rate} connections a second ${isRecording ? 'recorded' : 'and nothing recorded'}`);
    costs.push(await costAt(node, agent, rate, isRecording));
  }
  const memory = mebibytesOf(agent.child.pid!);
  return { costs, silent, memory, screen: isRecording ? await untilOnScreen(node) : 0 };
}

export const group: LoadGroup = async say => {
  const off = await measured(say, []);
  const on = await measured(say, ['--flows']);
  const sum = (of: (cost: Cost) => number): number => on.costs.reduce((before, cost) => before + of(cost), 0);
  const [inserted, told] = [sum(cost => cost.inserted), sum(cost => cost.told)];
  const rows: LoadRow[] = rates.map((rate, i) => ({
    what: `recording ${rate} connections a second`,
    asked: { atMost: i === 0 ? 1 : 10 },
    figure: on.costs[i]!.percent,
    unit: '% of a core',
  }));
  return [
    ...rows,
    {
      ...{ what: `${rates[1]} connections a second and nothing recorded`, asked: { atMost: 0.05 } },
      ...{ figure: off.costs[1]!.percent, unit: '% of a core' },
    },
    {
      ...{ what: 'recording where nothing happens, beside not recording', asked: { atMost: 0.05 } },
      ...{ figure: on.silent - off.silent, unit: '% of a core' },
    },
    {
      what: `of ${inserted} connections by the kernel's counter (conntrack -S, insert) and ${told} recorded or told as lost: the difference`,
      ...{ asked: { atMost: 0 }, figure: Math.abs(inserted - told), unit: 'connections' },
    },
    { what: 'memory of recording', asked: { atMost: 24 }, figure: on.memory - off.memory, unit: 'MiB' },
    {
      what: 'from a packet to its line in `flows --follow`',
      asked: { atMost: 400 },
      figure: on.screen,
      unit: 'ms, median',
    },
  ];
};
