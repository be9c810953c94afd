/**
 * What the gate costs the packets: from pod to pod through it, with policies in which the client's own comes last, against no
 * table, and against a table that knows nothing but established connections.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { inNetns, Netns } from '../../lib/kernel/netns.ts';
import type { Part } from './main.ts';
import { must } from './node.ts';
import { policiesForTheServer } from './policies.ts';
import { compared, type Row, single } from './report.ts';
import { conntrackOnly, twoPods } from './two-pods.ts';

const part = 'datapath: pod to pod on one node, policies that all select the server';
const rounds = 11;
const port = 8080;
const sockets = fileURLToPath(new URL('sockets.ts', import.meta.url));

/** Two pods on a node of their own, and what stands between them. */
interface Case {
  readonly name: string;
  readonly client: Netns;
  readonly server: string;
  readonly servers: readonly ChildProcess[];
  readonly throughput: number[];
  readonly connections: number[];
  readonly roundTrip: number[];
}

/** The process answers on the port when this returns. */
async function serveIn(netns: Netns, command: string, args: readonly string[], ready: string): Promise<ChildProcess> {
  const started = inNetns(netns, () => ({
    child: spawn(command, [...args], { stdio: ['ignore', 'pipe', 'inherit'] }),
  }));
  const { child } = started;
  let said = '';
  while (!said.includes(ready)) {
    const [chunk] = (await Promise.race([once(child.stdout!, 'data'), once(child, 'exit')])) as [unknown];
    if (child.exitCode !== null) throw new Error(`Cannot start ${command} ${args.join(' ')}: ${said}`);
    said += String(chunk);
  }
  child.stdout!.resume();
  return child;
}

/** What stands between them is measured by the processes that serve in one of them. */
async function build(name: string, policies: string | undefined, ...others: readonly string[]): Promise<Case> {
  const { server, client, address } = twoPods({ policies, others });
  const home = Netns.open(server);
  const node = (role: string, on: number) =>
    serveIn(home, process.execPath, [...quiet, sockets, role, `${on}`], 'ready');
  const servers = [
    await node('accept', port),
    await node('echo', port + 1),
    await serveIn(home, 'iperf3', ['-s', '-p', `${port + 2}`, '--forceflush'], 'listening'),
  ];
  return {
    name,
    client: Netns.open(client),
    server: address,
    servers,
    throughput: [],
    connections: [],
    roundTrip: [],
  };
}

const quiet = ['--disable-warning=ExperimentalWarning'];

const fromClient = ({ client }: Case, command: string, args: readonly string[]): string =>
  inNetns(client, () => must(command, args));

const bits = (report: string): number =>
  (JSON.parse(report) as { end: { sum_received: { bits_per_second: number } } }).end.sum_received.bits_per_second;

const measures: Readonly<Record<'connections' | 'roundTrip' | 'throughput', (each: Case) => number>> = {
  connections: each => bySockets(each, 'connect', port, 0.5),
  roundTrip: each => bySockets(each, 'bounce', port + 1, 0.3),
  throughput: each => {
    const iperf = ['-c', each.server, '-p', `${port + 2}`, '-n', '500M', '-J'];
    return bits(fromClient(each, 'iperf3', iperf)) / 1e9;
  },
};

const bySockets = (each: Case, role: string, on: number, seconds: number): number =>
  Number(fromClient(each, process.execPath, [...quiet, sockets, role, each.server, `${on}`, `${seconds}`]));

function rowsOf(each: Case, against: Case, isTarget = false): Row[] {
  const target = (limit: { atLeast?: number; atMost?: number }) => (isTarget ? limit : undefined);
  const of = (what: string) => `${what}, ${each.name}`;
  return [
    compared(
      { part, what: of('connections'), unit: '/s' },
      each.connections,
      against.name,
      against.connections,
      target({ atLeast: 0.95 }),
    ),
    compared({ part, what: of('round trip'), unit: 'µs' }, each.roundTrip, against.name, against.roundTrip),
    compared({ part, what: of('throughput'), unit: 'Gb/s' }, each.throughput, against.name, against.throughput),
  ];
}

export const datapath: Part = async say => {
  say('two pods each, with up to 10,000 policies');
  const none = await build('no table', undefined);
  const conntrack = await build('conntrack only', undefined, conntrackOnly);
  const one = await build('1 policy', policiesForTheServer(1, port));
  const some = await build('200 policies', policiesForTheServer(200, port));
  const many = await build('10,000 policies', policiesForTheServer(10_000, port));
  const apart = await build('10,000 policies, a port each', policiesForTheServer(10_000, port, true));
  const cases = [none, conntrack, one, some, many, apart];
  for (let round = -1; round < rounds; round++) {
    say(round < 0 ? 'warming up' : `round ${round + 1} of ${rounds}`);
    // One measure in all cases before the next measure: what else the machine does changes more slowly than that.
    for (const name of ['connections', 'roundTrip', 'throughput'] as const)
      for (let turn = 0; turn < cases.length; turn++) {
        const each = cases[(turn + round + 1) % cases.length]!;
        const found = measures[name](each);
        if (round >= 0) each[name].push(found);
      }
  }
  for (const { servers } of cases) for (const server of servers) server.kill('SIGKILL');
  return [
    single({ part, what: 'connections, no table', unit: '/s' }, none.connections),
    ...rowsOf(conntrack, none),
    ...rowsOf(one, conntrack),
    ...rowsOf(some, one),
    ...rowsOf(many, one, true),
    ...rowsOf(apart, one),
  ];
};
