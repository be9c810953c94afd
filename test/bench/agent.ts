/** What the agent of a Kubernetes node costs in a large cluster, and how much of that the size of the cluster makes. */
import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { setTimeout as after } from 'node:timers/promises';
import { inNetns } from '../../lib/kernel/netns.ts';
import { ownNode, ownPods, type sizes } from './cluster.ts';
import { ours, Place, root, tollgate } from './cni.ts';
import type { Part } from './main.ts';
import { processorMs } from './measure.ts';
import { makeNetns } from './node.ts';
import { compared, type Row, single } from './report.ts';

const part = 'agent: 1,000 nodes, 50,000 pods, 2,000 namespaces, 5,000 policies; 100 pods here';
const PATH = '/usr/sbin:/usr/bin:/sbin:/bin';
const port = 6443;
const starts = 3;
/** Milliseconds after which an agent has given back what its start took. */
const settling = 6_000;
const batches = 7;

/** A process on the node that says things line by line. */
class Talking implements Disposable {
  readonly child: ChildProcess;
  readonly #lines: string[] = [];
  #read = 0;
  #heard = Promise.withResolvers<void>();

  constructor(place: Place, command: string, args: readonly string[], stream: 'stdout' | 'stderr') {
    this.child = inNetns(place.node.netns, () => spawn(command, [...args], { env: { PATH }, stdio: 'pipe' }));
    this.child[stream === 'stdout' ? 'stderr' : 'stdout']!.resume();
    this.child.on('error', error => this.#heard.reject(error));
    this.child.on('exit', status =>
      this.#heard.reject(new Error(`${command} ended with ${status}: ${this.#lines.slice(-20).join('\n')}`)),
    );
    this.#heard.promise.catch(() => undefined);
    createInterface({ input: this.child[stream]! }).on('line', line => {
      this.#lines.push(line);
      this.#heard.resolve();
    });
  }

  /** @throws Error where the process ends first */
  async says(what: RegExp): Promise<void> {
    for (;;) {
      while (this.#read < this.#lines.length) if (what.test(this.#lines[this.#read++]!)) return;
      await this.#heard.promise;
      this.#heard = Promise.withResolvers<void>();
      this.#heard.promise.catch(() => undefined);
    }
  }

  /** Processor time of all of its threads, in milliseconds. */
  get cpu(): number {
    return processorMs(this.child.pid!);
  }

  /** `VmRSS`, or `VmHWM`, the most that it ever was; in MiB. */
  memory(what: 'VmRSS' | 'VmHWM'): number {
    const status = readFileSync(`/proc/${this.child.pid}/status`, 'utf8');
    return Number(new RegExp(`${what}:\\s+(\\d+) kB`).exec(status)![1]) / 1024;
  }

  /** Until it has nothing to do. */
  async rests(): Promise<void> {
    for (let before = -1; ; ) {
      const now = this.cpu;
      if (before >= 0 && now - before < 1) return;
      before = now;
      await after(200);
    }
  }

  [Symbol.dispose](): void {
    this.child.kill('SIGKILL');
  }
}

function startAgent(here: Place): Talking {
  const { node } = here;
  const kubeconfig = {
    clusters: [{ name: 'c', cluster: { server: `http://127.0.0.1:${port}` } }],
    users: [{ name: 'u', user: { token: 't' } }],
    contexts: [{ name: 'x', context: { cluster: 'c', user: 'u' } }],
    'current-context': 'x',
  };
  node.write('kubeconfig', JSON.stringify(kubeconfig));
  const folders = [
    '--run-dir',
    `${node.folder}/run`,
    '--state-dir',
    `${node.folder}/state`,
    '--policies',
    `${node.folder}/policies`,
  ];
  const args = ['agent', '--kubeconfig', `${node.folder}/kubeconfig`, '--node', ownNode, ...folders];
  return new Talking(here, tollgate, args, 'stderr');
}

async function stop(agent: Talking): Promise<void> {
  const ended = new Promise(resolve => agent.child.once('exit', resolve));
  agent.child.kill('SIGTERM');
  await ended;
}

interface Found {
  readonly rss: number[];
  readonly most: number[];
  readonly sync: number[];
  readonly pod: number[];
  readonly namespace: number[];
}

/** Processor time for each of so many events, batch by batch. */
async function costs(api: Talking, agent: Talking, what: 'pods' | 'namespace', number: number): Promise<number[]> {
  const found: number[] = [];
  for (let batch = -2; batch < batches; batch++) {
    await agent.rests();
    const before = agent.cpu;
    api.child.stdin!.write(`${what} ${number}\n`);
    await api.says(/^done$/);
    await agent.rests();
    if (batch >= 0) found.push((agent.cpu - before) / number);
  }
  return found;
}

async function measure(size: keyof typeof sizes): Promise<Found> {
  const here = new Place(ours({ enforcer: 'agent' }));
  using api = new Talking(here, process.execPath, [`${root}/test/bench/cluster-api.ts`, String(port), size], 'stdout');
  await api.says(/^ready$/);
  const pods = makeNetns(ownPods).map((netns, i) => ({
    containerID: `${i.toString(16).padStart(8, '0')}`.repeat(8),
    ...{ netns: `/run/netns/${netns}`, namespace: `n${i}`, name: `own-${i}`, labels: {} },
  }));
  using first = startAgent(here);
  await first.says(/"serving"/);
  await here.addAll(pods, 4);
  await stop(first);
  const found: Found = { rss: [], most: [], sync: [], pod: [], namespace: [] };
  for (let start = 0; start < starts; start++) {
    const began = performance.now();
    using agent = startAgent(here);
    await agent.says(/"serving"/);
    found.sync.push((performance.now() - began) / 1000);
    await after(settling);
    await agent.rests();
    found.rss.push(agent.memory('VmRSS'));
    found.most.push(agent.memory('VmHWM'));
    if (start === starts - 1) {
      found.pod.push(...(await costs(api, agent, 'pods', 100)));
      found.namespace.push(...(await costs(api, agent, 'namespace', 10)));
    }
    await stop(agent);
  }
  return found;
}

export const agent: Part = async say => {
  say('a tenth of the cluster');
  const tenth = await measure('tenth');
  say('the whole cluster');
  const full = await measure('full');
  const against = 'a tenth of it';
  const rows: Row[] = [
    single({ part, what: 'memory (RSS), once all is in force', unit: 'MiB' }, full.rss, { atMost: 150 }),
    single({ part, what: 'the most that it ever was', unit: 'MiB' }, full.most),
    compared({ part, what: 'memory (RSS)', unit: 'MiB' }, full.rss, against, tenth.rss),
    single({ part, what: 'first full sync, from the start of the process', unit: 's' }, full.sync, { atMost: 10 }),
    compared({ part, what: 'processor time for a pod elsewhere', unit: 'ms' }, full.pod, against, tenth.pod, {
      atMost: 1.5,
    }),
    compared(
      { part, what: 'the same for labels of a namespace of 1,000 pods', unit: 'ms' },
      full.namespace,
      against,
      tenth.namespace,
      { atMost: 1.5 },
    ),
  ];
  return rows;
};
