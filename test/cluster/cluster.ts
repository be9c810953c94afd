/** A Kubernetes cluster of this test's own: a control plane, nodes that share a link, and what tests ask of its pods. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { PATIENCE, until } from '../support/until.ts';
import { nodePlace, type Place } from './addresses.ts';
import { type AgentValues, agentManifests } from './agent-manifests.ts';
import { type Api, isTrue, type KubeObject, type Pod } from './api.ts';
import type { Target } from './asker.ts';
import { ControlPlane } from './control.ts';
import { podImage, podProgram } from './images.ts';
import { type AgentWay, KubeNode } from './node.ts';
import { NO_ANSWER, SILENCE } from './patience.ts';
import { dnsObjects } from './proxy.ts';
import { release } from './release.ts';
import { defaultRuntime, type Runtime } from './runtime.ts';

export type Labels = Readonly<Record<string, string>>;

export interface PodOptions {
  readonly namespace: string;
  readonly name: string;
  readonly labels?: Labels;
  /** Of the image's one program; it serves ports 80 (named http) and 81 where absent. */
  readonly words?: readonly string[];
  /** Where it is to run; anywhere where absent. */
  readonly node?: string;
  /** More fields of its container. */
  readonly container?: Readonly<Record<string, unknown>>;
}

/** A node that joins for the length of a suite. */
export interface NewNode {
  readonly name: string;
  readonly place: Place;
  readonly runtime?: Runtime;
  /** What is there before anything runs, by path. */
  readonly files?: Readonly<Record<string, string>>;
}

const ports = [
  { name: 'http', containerPort: 80 },
  { name: 'other', containerPort: 81 },
];

/** Of a probe: kubelet's own second is short on a machine that is busy, and three misses in a row are a restart. */
export const patient = { timeoutSeconds: 30 } as const;

export function podOf({ namespace, name, labels = {}, words, node, container }: PodOptions): KubeObject {
  const command = ['/bin/pod', ...(words ?? ['serve', name, '80', '81'])];
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { namespace, name, labels },
    spec: {
      containers: [{ name: 'it', image: podImage, imagePullPolicy: 'Never', command, ports, ...container }],
      dnsPolicy: 'Default',
      enableServiceLinks: false,
      automountServiceAccountToken: false,
      terminationGracePeriodSeconds: 5,
      ...(node === undefined ? {} : { nodeSelector: { 'kubernetes.io/hostname': node } }),
    },
  };
}

export const namespaceOf = (name: string, labels: Labels = {}): KubeObject => ({
  apiVersion: 'v1',
  kind: 'Namespace',
  metadata: { name, labels },
});

export const policyOf = (namespace: string, name: string, spec: Readonly<Record<string, unknown>>): KubeObject => ({
  apiVersion: 'networking.k8s.io/v1',
  kind: 'NetworkPolicy',
  metadata: { namespace, name },
  spec,
});

/** Closed in both directions, or in those given. */
export const defaultDeny = (namespace: string, policyTypes = ['Ingress', 'Egress']): KubeObject =>
  policyOf(namespace, 'default-deny', { podSelector: {}, policyTypes });

interface Deployment extends KubeObject {
  readonly status?: { readonly readyReplicas?: number };
}

export class KubeCluster implements Disposable {
  readonly control = new ControlPlane();
  readonly nodes = new Map<string, KubeNode>();
  #numbered = 0;

  static async start(values: AgentValues = {}): Promise<KubeCluster> {
    const cluster = new KubeCluster();
    await cluster.control.start();
    if (release.agent === 'pod') for (const object of agentManifests(values)) await cluster.api.apply(object);
    await Promise.all(Array.from({ length: release.nodes }, () => cluster.addNode(release.agent)));
    if (release.hasServices) await cluster.#startDns();
    return cluster;
  }

  get api(): Api {
    return this.control.api;
  }

  /** @param as the next number's name and place where absent */
  async addNode(agent: AgentWay, as?: NewNode): Promise<KubeNode> {
    const number = as ? undefined : ++this.#numbered;
    const { name, place, ...more } = as ?? { name: `node${number}`, place: nodePlace(number!) };
    const node = await KubeNode.start({
      runtime: defaultRuntime,
      files: {},
      ...more,
      control: this.control,
      name,
      place,
      agent,
    });
    this.nodes.set(name, node);
    await this.control.route((await node.read())!);
    return node;
  }

  /** Ends the machine, and takes the node and its pods out of the API; nothing where there is none. */
  async removeNode(name: string): Promise<void> {
    const node = this.nodes.get(name);
    if (!node) return;
    const object = (await node.read())!;
    const onIt = (await this.api.list<Pod>('/api/v1/pods')).filter(({ spec }) => spec.nodeName === name);
    node[Symbol.dispose]();
    this.nodes.delete(name);
    await this.api.delete(object);
    await Promise.all(onIt.map(async pod => await this.api.delete(pod, 0)));
    await this.control.unplug(object);
  }

  async #startDns(): Promise<void> {
    for (const object of dnsObjects) await this.api.apply(object);
    const isReady = ({ status }: Deployment) => (status?.readyReplicas ?? 0) > 0;
    await this.until<Deployment>('/apis/apps/v1/namespaces/kube-system/deployments/coredns', 'ready', isReady);
  }

  get node(): KubeNode {
    return this.nodes.get('node1')!;
  }

  [Symbol.dispose](): void {
    for (const node of this.nodes.values()) node[Symbol.dispose]();
    this.control[Symbol.dispose]();
  }

  /** Waits for an object to be as it should. */
  async until<T>(path: string, what: string, found: (object: T) => boolean): Promise<void> {
    let last: T | undefined;
    const wait = async () => {
      last = await this.api.get<T>(path);
      return last !== undefined && found(last);
    };
    await until(`${path} to be ${what}`, wait).catch(error => {
      throw new Error(`${error.message}: ${JSON.stringify(last)}`);
    });
  }

  /** Makes the pod; resolves when it is Ready. */
  async run(options: PodOptions): Promise<Pod> {
    const [pod] = await this.runAll([options]);
    return pod!;
  }

  /** In one namespace, all at once; resolves when all are Ready, and those that serve listen. */
  async runAll(all: readonly PodOptions[], deadline = PATIENCE): Promise<readonly Pod[]> {
    const place = `/api/v1/namespaces/${all[0]!.namespace}`;
    // A controller makes it after the namespace, and without it no pod is let in.
    await this.until(`${place}/serviceaccounts/default`, 'there', () => true);
    await Promise.all(all.map(async options => await this.api.apply(podOf(options))));
    const names = new Set(all.map(({ name }) => name));
    const folder = `${place}/pods`;
    let unready: readonly Pod[] = [];
    const wait = async () => {
      const pods = (await this.api.list<Pod>(folder)).filter(({ metadata }) => names.has(metadata.name));
      unready = pods.filter(pod => !isTrue(pod.status.conditions, 'Ready'));
      return pods.length === all.length && unready.length === 0 ? pods : undefined;
    };
    const pods = await until(`pods in ${folder} to be Ready`, wait, deadline).catch(error => {
      const words = unready.map(({ metadata, status }) => `${metadata.name}: ${JSON.stringify(status)}`);
      throw new Error(`${error.message}: ${unready.length} are not: ${words[0]}`);
    });
    const made = all.map(({ name }) => pods.find(({ metadata }) => metadata.name === name)!);
    // For kubelet a container runs before its program does.
    await Promise.all(made.map(async (pod, i) => all[i]!.words ?? (await this.#listens(pod))));
    return made;
  }

  async #listens(pod: Pod): Promise<void> {
    const itself: Target = { transport: 'tcp', address: '127.0.0.1', port: 80 };
    await until(`${pod.metadata.name} to listen`, () => this.#isAnswered(pod, itself, SILENCE));
  }

  /** Deletes the namespace and all in it; resolves when it is gone. */
  async deleteNamespace(name: string): Promise<void> {
    const namespace = namespaceOf(name);
    await this.api.delete(namespace);
    const isGone = async () => (await this.api.get(`/api/v1/namespaces/${name}`)) === undefined;
    await until(`namespace ${name} to be gone`, isGone);
  }

  nodeOf(pod: Pod): KubeNode {
    return this.nodes.get(pod.spec.nodeName!)!;
  }

  /** A network namespace, from outside: `nsenter --net=`. */
  netnsPath(pod: Pod): string {
    const node = this.nodeOf(pod);
    return node.host.path(`/run/netns/${node.netnsOf(pod)}`);
  }

  /** Starts the image's program in the pod's network namespace, as if the pod had. */
  spawn(pod: Pod, ...words: string[]): ChildProcess {
    const command = ['--pdeathsig', 'KILL', 'nsenter', `--net=${this.netnsPath(pod)}`, podProgram, ...words];
    return spawn('setpriv', command, { stdio: ['pipe', 'pipe', 'inherit'] });
  }

  /** Whether a request is answered within the patience (ms): ANSWER where it is to be. */
  async reaches(
    from: Pod,
    to: Pod,
    {
      transport = 'tcp',
      port = 80,
      patience = SILENCE,
    }: Partial<{ transport: 'tcp' | 'udp'; port: number; patience: number }> = {},
  ): Promise<boolean> {
    return await this.#isAnswered(from, { transport, address: to.status.podIP!, port }, patience);
  }

  async #isAnswered(from: Pod, { transport, address, port }: Target, patience: number): Promise<boolean> {
    const child = this.spawn(from, 'ask', transport, address, String(port), String(patience));
    child.stdout!.resume();
    const [exit] = (await once(child, 'close')) as [number | null];
    if (exit !== 0 && exit !== NO_ANSWER)
      throw new Error(`Cannot ask ${address} from ${from.metadata.name}: exit ${exit}`);
    return exit === 0;
  }
}
