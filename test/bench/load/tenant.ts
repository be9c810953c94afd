/** What one tenant of a Kubernetes node can make large (open flows, labels), and what that costs the agent and other pods. */
import { readFileSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { type Address, parseAddress } from '../../../lib/ip/address.ts';
import { NetlinkSocket } from '../../../lib/kernel/netlink.ts';
import { inNetns, Netns } from '../../../lib/kernel/netns.ts';
import type { Agent } from '../../support/agent-process.ts';
import { add } from '../../support/cni.ts';
import { type ApiPod, KubeHost } from '../../support/kube-host.ts';
import { manyFlows, openFlows } from '../../support/tracked-flows.ts';
import { until } from '../../support/until.ts';
import type { LoadGroup, LoadRow } from '../load-report.ts';

/** Milliseconds: the machine may be slow, and waiting costs nothing. */
const DEADLINE = 300_000;
const TICKS_A_SECOND = 100;
const address = (text: string): Address => parseAddress(text)!;
const role = (name: string) => ({ role: name });
const egress = (podSelector: object, rules: readonly object[]) => ({
  podSelector,
  policyTypes: ['Egress'],
  egress: rules,
});

class TenantPlace implements AsyncDisposable {
  readonly host: KubeHost;
  readonly agent: Agent;
  readonly #conntrack: NetlinkSocket;
  #pods = 0;

  private constructor(host: KubeHost, agent: Agent) {
    this.host = host;
    this.agent = agent;
    using netns = Netns.open(`/proc/${host.host.pid}/ns/net`);
    this.#conntrack = inNetns(netns, () => NetlinkSocket.open('netfilter'));
  }

  static async start(): Promise<TenantPlace> {
    const host = await KubeHost.startCluster();
    return new TenantPlace(host, await host.startAgent());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#conntrack[Symbol.dispose]();
    this.agent[Symbol.dispose]();
    await this.host[Symbol.asyncDispose]();
  }

  /** Processor time of the agent, in seconds. */
  get cpu(): number {
    const fields = readFileSync(`/proc/${this.agent.child.pid}/stat`, 'utf8').split(') ')[1]!.split(' ');
    return (Number(fields[11]) + Number(fields[12])) / TICKS_A_SECOND;
  }

  /** Of the agent, in MiB. */
  get memory(): number {
    const status = readFileSync(`/proc/${this.agent.child.pid}/status`, 'utf8');
    return Number(/^VmRSS:\s+(\d+) kB/m.exec(status)![1]) / 1024;
  }

  /** Flows to many addresses, a few ports of each. */
  openFlows(from: string, count: number): void {
    const each = 30_000;
    for (let i = 0; i < count / each; i++)
      openFlows(
        this.#conntrack.exchange,
        manyFlows(address(from), address(`203.0.113.${10 + i}`), Math.min(each, count - i * each), 1000 + i),
      );
  }

  async flows(): Promise<number> {
    return Number((await this.host.host.sh('conntrack -C')).trim());
  }

  /** Until the agent does nothing any more. */
  async rests(): Promise<void> {
    for (let [before, calm] = [this.cpu, 0]; calm < 10; ) {
      await pause(200);
      const now = this.cpu;
      calm = now - before < 0.02 ? calm + 1 : 0;
      before = now;
    }
  }

  /** Milliseconds of a stranger's ADD; undefined where it failed. */
  async addStranger(): Promise<number | undefined> {
    const pod: ApiPod = { name: `stranger-${++this.#pods}`, namespace: 'kube-system' };
    this.host.declare(pod);
    const call = this.host.podCall(pod, await this.host.host.pod());
    const start = performance.now();
    try {
      await add(this.host.host, call);
    } catch {
      return undefined;
    }
    return performance.now() - start;
  }

  /** ADDs one after the other while the work lasts, ten at least. */
  async strangersDuring(work: Promise<unknown>): Promise<{ readonly times: number[]; readonly failures: number }> {
    let isOver = false;
    void work.finally(() => {
      isOver = true;
    });
    const times: number[] = [];
    let failures = 0;
    while (!isOver || times.length + failures < 10) {
      const ms = await this.addStranger();
      if (ms === undefined) failures++;
      else times.push(ms);
    }
    await work;
    return { times, failures };
  }
}

/** The most memory that the agent had while the work lasted, in MiB. */
async function peakDuring(place: TenantPlace, work: Promise<unknown>): Promise<number> {
  let isOver = false;
  void work.finally(() => {
    isOver = true;
  });
  let peak = place.memory;
  while (!isOver) {
    await pause(20);
    peak = Math.max(peak, place.memory);
  }
  await work;
  return peak;
}

interface Cost {
  readonly cpu: number;
  readonly memory: number;
  readonly slowest: number;
  readonly failures: number;
}

/** What a change costs until nothing is to be done any more. */
async function costOf(place: TenantPlace, quiet: number, change: () => Promise<void>): Promise<Cost> {
  await place.rests();
  const [cpu, memory] = [place.cpu, place.memory];
  let own = 0;
  const work = change()
    .then(() => pause(500))
    .then(() => place.rests())
    .then(() => {
      own = place.cpu - cpu;
    });
  const peak = await peakDuring(place, work);
  const strangers = await place.strangersDuring(change());
  return {
    ...{ cpu: own, memory: peak - memory, failures: strangers.failures },
    slowest: Math.max(...strangers.times) / quiet,
  };
}

const row = (what: string, figure: number, atMost: number, unit: string, before?: number): LoadRow => ({
  ...{ what, asked: { atMost }, figure, unit },
  ...(before === undefined ? {} : { before }),
});

async function flowsOfOne(say: (progress: string) => void): Promise<readonly LoadRow[]> {
  await using place = await TenantPlace.start();
  const { host } = place;
  host.policy('closed', egress({ matchLabels: role('closed') }, []));
  host.policy('noted', egress({ matchLabels: role('noted') }, [{ to: [{ ipBlock: { cidr: '203.0.113.0/24' } }] }]));
  const pod: ApiPod = { name: 'busy', labels: role('free') };
  using busy = await host.run(pod);
  const from = `${busy.result.ips![0]!.address.split('/')[0]}`;
  await place.strangersDuring(Promise.resolve());
  const quiet = Math.max(...(await place.strangersDuring(pause(3000))).times);
  say('a pod with 150,000 flows: another label, which forbids nothing');
  place.openFlows(from, 150_000);
  let turn = 0;
  const patched = await costOf(place, quiet, async () =>
    host.declare({ ...pod, labels: role(++turn % 2 ? 'noted' : 'free') }),
  );
  say('a pod with 150,000 flows: a policy of another pod');
  const other = await costOf(place, quiet, async () =>
    host.policy('web', egress({ matchLabels: role('web') }, [{ ports: [{ port: ++turn }] }])),
  );
  say('a pod with 20,000 flows: ten labels a second');
  await host.host.sh('conntrack -F');
  place.openFlows(from, 20_000);
  const often = await costOf(place, quiet, async () => {
    for (let i = 0; i < 50; i++) {
      host.declare({ ...pod, labels: role(i % 2 ? 'noted' : 'free') });
      await pause(100);
    }
  });
  say('a pod with 150,000 flows: none is allowed any more');
  place.openFlows(from, 150_000);
  const closed = await costOf(place, quiet, async () => {
    host.declare({ ...pod, labels: role('closed') });
    await until('its flows to be cut', async () => (await place.flows()) < 1000, DEADLINE);
  });
  const rows = (what: string, cost: Cost, cpu: number, before?: { cpu?: number; memory?: number }): LoadRow[] => [
    row(`${what}: processor of the agent`, cost.cpu, cpu, 's', before?.cpu),
    row(`${what}: memory that the agent takes more`, cost.memory, 40, 'MiB', before?.memory),
    row(`${what}: slowest ADD of another pod meanwhile`, cost.slowest, 3, '× the slowest of quiet times'),
    row(`${what}: ADDs of other pods that fail`, cost.failures, 0, 'calls'),
  ];
  return [
    ...rows('a label of a pod with 150,000 flows', patched, 2.5, { cpu: 10.5, memory: 227 }),
    ...rows('a policy of another pod beside 150,000 flows', other, 0.5, { cpu: 10.5, memory: 227 }),
    ...rows('150,000 flows that a label forbids', closed, 5),
    ...rows('50 labels in 5 s of a pod with 20,000 flows', often, 2.5),
  ];
}

async function largeLabels(say: (progress: string) => void): Promise<readonly LoadRow[]> {
  await using place = await TenantPlace.start();
  const { host } = place;
  const text = (seed: string) => seed.padEnd(63, 'x');
  const labels = (seed: number) =>
    Object.fromEntries(Array.from({ length: 760 }, (_, i) => [text(`k${seed}-${i}-`), text(`v${seed}-${i}-`)]));
  using _ = await host.run({ name: 'labelled' });
  await place.rests();
  const before = place.memory;
  say('1,600 patches of 98 KiB of labels');
  for (let i = 0; i < 1600; i++) {
    host.declare({ name: `large-${i % 20}`, node: 'another', labels: labels(i) });
    await pause(5);
  }
  for (let i = 0; i < 20; i++) host.api.remove('pods', `large-${i}`, 'default');
  await place.rests();
  await pause(6000);
  return [row('1,600 patches of 98 KiB of labels: memory that stays', place.memory - before, 60, 'MiB', 255)];
}

export const group: LoadGroup = async say => [...(await flowsOfOne(say)), ...(await largeLabels(say))];
