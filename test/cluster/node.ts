/** A node: a machine of its own with containerd, kubelet and our agent. */
import { readFileSync } from 'node:fs';
import { type Json, peerDir, tollgateDir } from '../cni.ts';
import { Host } from '../host.ts';
import { programImage } from '../image.ts';
import { isTrue, type Node, type Pod } from './api.ts';
import type { ControlPlane } from './control.ts';
import { Daemon, kubernetes, scratch } from './daemon.ts';

export const image = 'docker.io/library/pod:test';
/** On the machine: what pods run is also what asks them. */
const program = `${scratch}/pod`;

const containerdSettings = `version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
[grpc]
  address = "/run/containerd/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "${image}"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/run/cni/bin"
    conf_dir = "/run/cni/net.d"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "native"
`;

const kubeletSettings = {
  apiVersion: 'kubelet.config.k8s.io/v1beta1',
  kind: 'KubeletConfiguration',
  authentication: { anonymous: { enabled: true }, webhook: { enabled: false } },
  authorization: { mode: 'AlwaysAllow' },
  cgroupDriver: 'cgroupfs',
  cgroupsPerQOS: false,
  enforceNodeAllocatable: [],
  evictionHard: {},
  failSwapOn: false,
  maxPods: 250,
  // Its metrics, for who is on the node.
  readOnlyPort: 10255,
  nodeStatusUpdateFrequency: '2s',
  resolvConf: '',
  serializeImagePulls: false,
  volumePluginDir: '/var/lib/kubelet/plugins',
  // A hundred pods at once are the test's patience, not kubelet's.
  kubeAPIQPS: 500,
  kubeAPIBurst: 1000,
  eventRecordQPS: 0,
};

/** What kubelet would set for the whole machine: it finds these as it wants them, and the machine keeps its own. */
const sysctls = {
  'vm/overcommit_memory': 1,
  'vm/panic_on_oom': 0,
  'kernel/panic': 10,
  'kernel/panic_on_oops': 1,
  'kernel/keys/root_maxkeys': 1_000_000,
  'kernel/keys/root_maxbytes': 25_000_000,
} as const;

const setup = `mount -t tmpfs tmpfs /var/log; mkdir -p /run/sysctl /run/cni/bin /run/cni/net.d
  ${Object.entries(sysctls)
    .map(([name, value], i) => `echo ${value} >/run/sysctl/${i}; mount --bind /run/sysctl/${i} /proc/sys/${name}`)
    .join('\n')}
  ln -s ${peerDir}/loopback /run/cni/bin/`;

/** What libcni keeps of an attachment: containerd's word for whose it is, and where. */
interface Cached {
  readonly cniArgs: readonly (readonly [string, string])[];
  readonly ifName: string;
  readonly result: { readonly interfaces: readonly { readonly sandbox?: string }[] };
}

interface Conflist {
  readonly cniVersion: string;
  readonly name: string;
  readonly plugins: readonly Json[];
}

/** What the plugin says when it refuses. */
export interface Failure {
  readonly code: number;
  readonly msg: string;
}

/** Who runs the agent: we, as a program of the node's, or kubelet, in a pod; then the node waits for somebody to make one. */
export type AgentWay = 'program' | 'pod';

const setupFor: Readonly<Record<AgentWay, string>> = {
  program: `${setup}
    ln -s ${tollgateDir}/tollgate ${tollgateDir}/tollgate-ipam /run/cni/bin/`,
  // As on any machine with systemd: containerd refuses a pod's HostToContainer where mounts are private. The plugin comes
  // with the pod.
  pod: `${setup}
    mount --make-rshared /`,
};

export interface NodeOptions {
  readonly control: ControlPlane;
  readonly name: string;
  readonly address: string;
  readonly agent?: AgentWay;
}

export class KubeNode implements Disposable {
  readonly name: string;
  readonly address: string;
  readonly host: Host;
  readonly #control: ControlPlane;
  readonly containerd: Daemon;
  readonly kubelet: Daemon;
  readonly agent: Daemon;

  static async start(options: NodeOptions): Promise<KubeNode> {
    const { agent = 'program' } = options;
    const node = new KubeNode(options, await Host.start({ pids: true, setup: setupFor[agent] }));
    try {
      await node.#start();
      if (agent === 'pod') return node;
      node.agent.start();
      await node.isReady();
      return node;
    } catch (error) {
      node[Symbol.dispose]();
      throw error;
    }
  }

  private constructor({ control, name, address }: NodeOptions, host: Host) {
    this.name = name;
    this.address = address;
    this.host = host;
    this.#control = control;
    const daemon = (what: string, ...command: string[]) => new Daemon({ name: `${name}-${what}`, command, host });
    this.containerd = daemon('containerd', 'containerd', '-c', '/run/containerd.toml');
    this.kubelet = daemon(
      'kubelet',
      `${kubernetes}/kubelet`,
      '--config=/run/kubelet.json',
      '--kubeconfig=/run/admin.conf',
      '--container-runtime=remote',
      '--container-runtime-endpoint=unix:///run/containerd/containerd.sock',
      `--hostname-override=${name}`,
      `--node-ip=${address}`,
    );
    const folders = ['--conf-dir', '/run/cni/net.d', '--state-dir', '/var/lib/tollgate', '--run-dir', '/run/tollgate'];
    const access = ['--kubeconfig', '/run/tollgate.conf', '--node', name];
    this.agent = daemon('agent', `${tollgateDir}/tollgate`, 'agent', ...access, ...folders);
  }

  [Symbol.dispose](): void {
    this.host[Symbol.dispose]();
  }

  async #start(): Promise<void> {
    const { host, name } = this;
    for (const user of ['admin', 'tollgate'] as const) host.write(`/run/${user}.conf`, this.#control.kubeconfig(user));
    host.write('/run/containerd.toml', containerdSettings);
    host.write('/run/kubelet.json', JSON.stringify(kubeletSettings));
    host.write('/run/image.tar', programImage(image, program, ['wait']));
    this.#control.plug(host, name, this.address);
    await this.startContainerd();
    await this.import('/run/image.tar');
    this.kubelet.start();
  }

  async import(archive: string): Promise<void> {
    await this.host.must(['ctr', '-n', 'k8s.io', 'images', 'import', '--snapshotter', 'native', archive]);
  }

  async isReady(): Promise<void> {
    await this.kubelet.until('node is Ready', async () => isTrue((await this.read())?.status.conditions, 'Ready'));
  }

  async startContainerd(): Promise<void> {
    this.containerd.start();
    await this.containerd.until('answers', async () => (await this.host.run(['ctr', 'version'])).exit === 0);
  }

  async read(): Promise<Node | undefined> {
    return await this.#control.api.get<Node>(`/api/v1/nodes/${this.name}`);
  }

  /** The pod's network namespace, by name. */
  netnsOf(pod: Pod): string {
    const { namespace, name } = pod.metadata;
    for (const file of this.host.files('/var/lib/cni/results').filter(path => path.endsWith('-eth0'))) {
      const { cniArgs, result } = JSON.parse(readFileSync(this.host.path(file), 'utf8')) as Cached;
      const args = new Map(cniArgs.map(([key, value]) => [key, value]));
      const path = result.interfaces.find(({ sandbox }) => sandbox)?.sandbox;
      const isIt = args.get('K8S_POD_NAMESPACE') === namespace && args.get('K8S_POD_NAME') === name;
      if (isIt && path) return path.replace(/^.*\/netns\//, '');
    }
    throw new Error(`Cannot find pod ${namespace}/${name} on ${this.name}: no attachment of that name`);
  }

  /** Whether the pod answers the node itself. */
  async answers(pod: Pod): Promise<boolean> {
    return (await this.host.run([program, 'ask', 'tcp', pod.status.podIP!, '80', '2000'])).exit === 0;
  }

  /** Calls the plugin as a runtime would, for a pod that nobody has ever heard of. */
  async addUnheardOf(): Promise<Failure> {
    const netns = await this.host.pod();
    const conflist = readFileSync(this.host.path('/run/cni/net.d/10-tollgate.conflist'), 'utf8');
    const { cniVersion, name, plugins } = JSON.parse(conflist) as Conflist;
    const env = {
      CNI_COMMAND: 'ADD',
      CNI_CONTAINERID: `unheard-of-${netns}`,
      CNI_NETNS: `/run/netns/${netns}`,
      CNI_IFNAME: 'eth0',
      CNI_PATH: '/run/cni/bin',
      CNI_ARGS: 'K8S_POD_NAMESPACE=default;K8S_POD_NAME=unheard-of;K8S_POD_UID=00000000-0000-0000-0000-000000000000',
    };
    const input = JSON.stringify({ ...plugins[0], cniVersion, name });
    const { exit, stdout } = await this.host.run(['/run/cni/bin/tollgate'], { input, env });
    if (exit === 0) throw new Error(`The pod was let in: ${stdout}`);
    return JSON.parse(stdout) as Failure;
  }
}
