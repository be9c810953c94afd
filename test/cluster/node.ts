/** A node: a machine of its own with a container runtime, kubelet, our agent, and kube-proxy where Services are served. */
import { readFileSync } from 'node:fs';
import { parseJson, readText } from '../../lib/state/atomic.ts';
import { type Json, peerDir, tollgateDir } from '../support/cni.ts';
import { Host } from '../support/host.ts';
import type { Place } from './addresses.ts';
import { type NodeAgent, PodAgent, programAgent } from './agent.ts';
import { isTrue, type Node, type Pod } from './api.ts';
import type { ControlPlane } from './control.ts';
import { Daemon, flagsOf, kubernetes } from './daemon.ts';
import { agentImage, archives, dnsImage, podImage, podProgram } from './images.ts';
import { type ProxyMode, proxySettings } from './proxy.ts';
import { release } from './release.ts';
import type { Runtime } from './runtime.ts';

/** Of this run, in each controller; run.sh makes it, and takes it away with all that is in it. */
const cgroups = process.env['TOLLGATE_CLUSTER_CGROUP']!;

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
  ln -s ${peerDir}/loopback ${peerDir}/bridge ${peerDir}/host-local /run/cni/bin/`;

/** What libcni keeps of an attachment: the runtime's word for whose it is, and where. */
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

/** Who runs the agent: we, as a program of the node's, or kubelet, in a pod; `ptp`: nobody, the network is another's. */
export type AgentWay = 'program' | 'pod' | 'ptp';

const setupFor: Readonly<Record<AgentWay, string>> = {
  program: `${setup}
    ln -s ${tollgateDir}/tollgate ${tollgateDir}/tollgate-ipam /run/cni/bin/`,
  // As on any machine with systemd: containerd refuses a pod's HostToContainer where mounts are private. The plugin comes
  // with the pod.
  pod: `${setup}
    mount --make-rshared /`,
  ptp: `${setup}
    ln -s ${peerDir}/ptp ${peerDir}/portmap /run/cni/bin/`,
};

/** The network of the reference plugins, with the node's own ranges. */
const ptpConflist = (ranges: readonly string[]): Json => ({
  cniVersion: '1.0.0',
  name: 'ptp',
  plugins: [
    {
      type: 'ptp',
      ipMasq: true,
      ipam: {
        type: 'host-local',
        ranges: ranges.map(subnet => [{ subnet }]),
        routes: [{ dst: '0.0.0.0/0' }, { dst: '::/0' }],
      },
    },
    { type: 'portmap', capabilities: { portMappings: true } },
  ],
});

export interface NodeOptions {
  readonly control: ControlPlane;
  readonly name: string;
  readonly place: Place;
  readonly agent: AgentWay;
  readonly runtime: Runtime;
  /** What is there before anything runs, by path. */
  readonly files: Readonly<Record<string, string>>;
}

export class KubeNode implements Disposable {
  readonly name: string;
  readonly place: Place;
  /** Its root of cgroups, in each controller. */
  readonly cgroup: string;
  readonly host: Host;
  readonly #control: ControlPlane;
  readonly #runtime: Runtime;
  readonly runtime: Daemon;
  readonly kubelet: Daemon;
  readonly agent: NodeAgent;
  readonly proxy: Daemon;
  proxyMode: ProxyMode | undefined;

  /** Resolves when the node is Ready; where its agent is to come in a pod, that must be under way. */
  static async start(options: NodeOptions): Promise<KubeNode> {
    const { agent, name } = options;
    const node = new KubeNode(options, await Host.start({ pids: true, hostname: name, setup: setupFor[agent] }));
    try {
      await node.#start(options);
      return node;
    } catch (error) {
      node[Symbol.dispose]();
      throw error;
    }
  }

  private constructor({ control, name, place, agent, runtime }: NodeOptions, host: Host) {
    this.name = name;
    this.place = place;
    this.cgroup = `${cgroups}/${name}`;
    this.host = host;
    this.#control = control;
    this.#runtime = runtime;
    const daemon = (what: string, ...command: string[]) => new Daemon({ name: `${name}-${what}`, command, host });
    this.runtime = daemon(runtime.name, ...runtime.command);
    const kubeletFlags = flagsOf({
      config: '/run/kubelet.json',
      kubeconfig: '/run/kubelet.conf',
      'hostname-override': name,
      'node-ip': release.hasServices ? `${place.v4},${place.v6}` : place.v4,
      ...release.kubelet.flags(`unix://${runtime.socket}`),
    });
    this.kubelet = daemon('kubelet', `${kubernetes}/kubelet`, ...kubeletFlags);
    this.proxy = daemon('kube-proxy', `${kubernetes}/kube-proxy`, '--config=/run/proxy.json');
    const folders = ['--conf-dir', '/run/cni/net.d', '--state-dir', '/var/lib/tollgate', '--run-dir', '/run/tollgate'];
    const access = ['--kubeconfig', '/run/tollgate.conf', '--node', name];
    this.agent =
      agent === 'pod'
        ? new PodAgent(host, this.kubelet)
        : programAgent(daemon('agent', `${tollgateDir}/tollgate`, 'agent', ...access, ...folders));
  }

  [Symbol.dispose](): void {
    this.host[Symbol.dispose]();
  }

  async #start({ agent, runtime, files }: NodeOptions): Promise<void> {
    const { host, name, cgroup } = this;
    await host.sh(`for controller in /sys/fs/cgroup/*; do mkdir -p $controller${cgroup}; done`);
    const ofRelease = release.kubelet.settings(`unix://${runtime.socket}`, cgroup);
    const kubelet = { ...kubeletSettings, ...ofRelease, ...runtime.kubelet };
    const kubeletUser = release.kubeletUser?.(name) ?? 'admin';
    host.write('/run/kubelet.conf', this.#control.kubeconfig(kubeletUser));
    host.write('/run/tollgate.conf', this.#control.kubeconfig('tollgate'));
    for (const [path, text] of Object.entries({ ...runtime.files, ...files })) host.write(path, text);
    host.write('/run/kubelet.json', JSON.stringify(kubelet));
    await this.#control.plug(host, name, this.place);
    await this.startRuntime();
    const images = [podImage, ...(agent === 'pod' ? [agentImage] : []), ...(release.hasServices ? [dnsImage] : [])];
    for (const image of images) await this.import(archives[image]!());
    this.kubelet.start();
    if (agent === 'program') this.agent.start();
    if (agent === 'ptp') {
      const ranges = await this.kubelet.until('node has its ranges', async () => (await this.read())?.spec.podCIDRs);
      host.write('/run/cni/net.d/05-ptp.conflist', JSON.stringify(ptpConflist(ranges)));
    }
    await this.isReady();
    if (release.hasServices) await this.startProxy('nftables');
  }

  /** As `docker save` makes it. */
  async import(archive: Uint8Array): Promise<void> {
    this.host.write('/run/image.tar', archive);
    await this.host.must(this.#runtime.load('/run/image.tar'));
    await this.host.must(['rm', '/run/image.tar']);
  }

  async isReady(): Promise<void> {
    const isReady = async () => isTrue((await this.read())?.status.conditions, 'Ready');
    await this.kubelet.until('node is Ready', isReady);
  }

  async startRuntime(): Promise<void> {
    this.runtime.start();
    await this.runtime.until('answers', async () => (await this.host.run(this.#runtime.probe)).exit === 0);
  }

  /** Starts kube-proxy; what another mode has left in the kernel is taken away before. */
  async startProxy(mode: ProxyMode): Promise<void> {
    if (this.proxy.isRunning) await this.proxy.end('SIGTERM');
    this.host.write('/run/proxy.conf', this.#control.kubeconfig('system:kube-proxy'));
    this.host.write('/run/proxy.json', JSON.stringify(proxySettings(this.name, mode)));
    await this.host.must([`${kubernetes}/kube-proxy`, '--config=/run/proxy.json', '--cleanup']);
    this.proxy.start();
    this.proxyMode = mode;
    const healthz = 'exec 3<>/dev/tcp/127.0.0.1/10256; printf "GET /healthz HTTP/1.0\\r\\n\\r\\n" >&3; head -n 1 <&3';
    await this.proxy.until('has written its rules', async () => {
      const { stdout } = await this.host.run(['bash', '-ec', healthz]);
      return stdout.includes(' 200 ');
    });
  }

  async read(): Promise<Node | undefined> {
    return await this.#control.api.get<Node>(`/api/v1/nodes/${this.name}`);
  }

  /** What libcni has written of attachments. A file that it has yet to finish, or has removed meanwhile, is left out. */
  #attachments(): Cached[] {
    const files = this.host.files('/var/lib/cni/results').filter(path => path.endsWith('-eth0'));
    return files.flatMap(file => {
      const found = parseJson(readText(this.host.path(file)));
      return found.kind === 'value' ? [found.value as Cached] : [];
    });
  }

  /** The pod's network namespace, by name. */
  netnsOf(pod: Pod): string {
    const { namespace, name } = pod.metadata;
    for (const { cniArgs, result } of this.#attachments()) {
      const args = new Map(cniArgs.map(([key, value]) => [key, value]));
      const path = result.interfaces.find(({ sandbox }) => sandbox)?.sandbox;
      const isIt = args.get('K8S_POD_NAMESPACE') === namespace && args.get('K8S_POD_NAME') === name;
      if (isIt && path) return path.replace(/^.*\/netns\//, '');
    }
    throw new Error(`Cannot find pod ${namespace}/${name} on ${this.name}: no attachment of that name`);
  }

  /** Whether the pod answers the node itself within the patience (ms). */
  async answers(pod: Pod, patience: number): Promise<boolean> {
    return (await this.host.run([podProgram, 'ask', 'tcp', pod.status.podIP!, '80', String(patience)])).exit === 0;
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
    // An agent that is away is not waited for.
    const input = JSON.stringify({ ...plugins[0], cniVersion, name, agentGrace: 0 });
    const { exit, stdout } = await this.host.run(['/run/cni/bin/tollgate'], { input, env, deadline: 180_000 });
    if (exit === 0) throw new Error(`The pod was let in: ${stdout}`);
    return JSON.parse(stdout) as Failure;
  }
}
