/** Plugins as a runtime calls them: ours and Debian's, each on nodes of its own. */
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { BenchNode, makeNetns, type Program, type Timed } from './node.ts';

export const root = fileURLToPath(new URL('../..', import.meta.url)).replace(/\/$/, '');
export const tollgate = `${root}/dist/tollgate`;
const peers = '/usr/lib/cni';
/** The newest of the CNI project's own, where Go was there to install them. */
const reference = `${root}/dist/tools/reference`;

export interface Pod {
  readonly containerID: string;
  readonly netns: string;
  readonly namespace: string;
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
}

export type Config = Readonly<Record<string, unknown>>;
export interface Plugin {
  readonly name: string;
  readonly binary: string;
  /** Where it finds its IPAM plugin. */
  readonly path: string;
  readonly configFor: (node: BenchNode) => Config;
}

export const ours = (more: Config = {}, binary = tollgate): Plugin => ({
  name: 'tollgate',
  binary,
  path: peers,
  configFor: ({ folder }) => ({
    stateDir: `${folder}/state`,
    runDir: `${folder}/run`,
    policies: `${folder}/policies`,
    ipam: { type: 'tollgate-ipam', ranges: [[{ subnet: '10.80.0.0/16' }]] },
    ...more,
  }),
});

const peer = (name: string, folder: string, type: string, more: Config): Plugin => ({
  name,
  binary: `${folder}/${type}`,
  path: folder,
  configFor: ({ folder }) => ({
    ipam: { type: 'host-local', dataDir: `${folder}/host-local`, ranges: [[{ subnet: '10.80.0.0/16' }]] },
    ...more,
  }),
});

const masquerading = { bridge: 'cni0', isGateway: true, ipMasq: true };
export const ptp = peer('ptp', peers, 'ptp', {});
export const bridge = peer('bridge', peers, 'bridge', { bridge: 'cni0', isGateway: true });
export const bridgeMasq = peer('bridge ipMasq', peers, 'bridge', masquerading);
/** Undefined where they are not there. */
export const newest = existsSync(`${reference}/ptp`)
  ? {
      ptp: peer('newest ptp', reference, 'ptp', {}),
      bridgeMasq: peer('newest bridge ipMasq', reference, 'bridge', masquerading),
    }
  : undefined;

let count = 0;

/** Pods of a busy node: 20 apps in 5 namespaces. */
export function makePods(number: number): Pod[] {
  return makeNetns(number).map(netns => {
    const i = count++;
    return {
      containerID: `${i.toString(16).padStart(8, '0')}`.repeat(8),
      netns: `/run/netns/${netns}`,
      namespace: `ns${i % 5}`,
      name: `pod-${i}`,
      labels: { app: `app${i % 20}`, tier: `tier${i % 3}` },
    };
  });
}

/** One plugin on one node. */
export class Place {
  readonly plugin: Plugin;
  readonly node: BenchNode;
  readonly pods: Pod[] = [];

  constructor(plugin: Plugin, node = new BenchNode()) {
    this.plugin = plugin;
    this.node = node;
  }

  call(verb: 'ADD' | 'DEL', pod: Pod): Program {
    const type = this.plugin.binary.split('/').at(-1);
    const config = { cniVersion: '1.0.0', name: 'bench', type, ...this.plugin.configFor(this.node) };
    const labels = Object.entries(pod.labels).map(([key, value]) => ({ key, value }));
    return {
      command: this.plugin.binary,
      env: {
        PATH: '/usr/sbin:/usr/bin:/sbin:/bin',
        CNI_COMMAND: verb,
        CNI_CONTAINERID: pod.containerID,
        CNI_NETNS: pod.netns,
        CNI_IFNAME: 'eth0',
        CNI_PATH: this.plugin.path,
        CNI_ARGS: `IgnoreUnknown=1;K8S_POD_NAMESPACE=${pod.namespace};K8S_POD_NAME=${pod.name}`,
      },
      input: JSON.stringify({ ...config, args: { cni: { labels } } }),
    };
  }

  add(pod: Pod): Timed {
    return this.node.run(this.call('ADD', pod));
  }

  del(pod: Pod): Timed {
    return this.node.run(this.call('DEL', pod));
  }

  /** Milliseconds of processor time that its warm process has spent; undefined without one. */
  spent(): number | undefined {
    return undefined;
  }

  /** All of them, so many at once; milliseconds from the first start to the last end. */
  async addAll(pods: readonly Pod[], width: number): Promise<number> {
    return await this.#all('ADD', pods, width);
  }

  async delAll(pods: readonly Pod[], width: number): Promise<void> {
    await this.#all('DEL', pods, width);
  }

  async #all(verb: 'ADD' | 'DEL', pods: readonly Pod[], width: number): Promise<number> {
    return await this.node.runAll(
      pods.map(pod => this.call(verb, pod)),
      width,
    );
  }
}
