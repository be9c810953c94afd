/** A node of a cluster: an API server of the test's own, the agent as a process, and pods as a runtime plugs them in. */
import { rmSync } from 'node:fs';
import { inNetns, Netns } from '../../lib/kernel/netns.ts';
import { type Agent, startAgent as start } from './agent-process.ts';
import { add, type Call, config, type Json, policies, runDir, stateDir, tollgate } from './cni.ts';
import { type ApiObject, FakeApi } from './fake-api.ts';
import { Host, type HostOptions } from './host.ts';
import { type PluggedPod, PluggedPod as Pod, PolicyHost, ranges } from './policy-host.ts';
import { until } from './until.ts';
import { furnished } from './way.ts';
import { wires } from './wired-host.ts';

export const node = 'n1';
const kubeconfig = '/run/test/kubeconfig';

/** The agent's command line on a host. */
const commandWith = (state: string, program = tollgate): readonly string[] => [
  ...[program, 'agent', '--kubeconfig', kubeconfig, '--node', node],
  ...['--run-dir', runDir, '--state-dir', state, '--policies', policies],
];

export interface ApiPod {
  readonly name: string;
  readonly namespace?: string;
  readonly uid?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly node?: string;
  readonly ip?: string;
  readonly phase?: string;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly ports?: readonly Json[];
}

export const podObject = ({ name, namespace = 'default', ...pod }: ApiPod): ApiObject => ({
  metadata: {
    ...{ name, namespace, uid: pod.uid ?? `uid-${name}`, labels: pod.labels ?? {} },
    ...(pod.annotations ? { annotations: pod.annotations } : {}),
  },
  spec: { nodeName: pod.node ?? node, containers: [{ name: 'main', ports: pod.ports ?? [] }] },
  status: {
    phase: pod.phase ?? 'Running',
    ...(pod.ip === undefined ? {} : { podIP: pod.ip, podIPs: [{ ip: pod.ip }] }),
  },
});

const policyObject = (name: string, spec: Json, namespace = 'default'): ApiObject => ({
  metadata: { name, namespace },
  spec,
});

export class KubeHost extends PolicyHost implements AsyncDisposable {
  readonly api: FakeApi;

  static async startCluster(options: Pick<HostOptions, 'way'> = {}): Promise<KubeHost> {
    const host = await furnished(await Host.start({ ...options, setup: `mkdir -p ${policies}; ${wires}` }));
    try {
      using place = Netns.open(`/proc/${host.pid}/ns/net`);
      return new KubeHost(host, await FakeApi.start({ inside: listen => inNetns(place, listen) }));
    } catch (error) {
      host[Symbol.dispose]();
      throw error;
    }
  }

  constructor(host: Host, api: FakeApi) {
    super(host);
    this.api = api;
    const server = `http://127.0.0.1:${api.port}`;
    const cluster = `clusters: [{name: c, cluster: {server: "${server}"}}]\nusers: [{name: u, user: {token: t}}]`;
    const context = 'contexts: [{name: x, context: {cluster: c, user: u}}]\ncurrent-context: x';
    host.write(kubeconfig, `apiVersion: v1\nkind: Config\n${cluster}\n${context}\n`);
    for (const name of ['default', 'kube-system']) this.namespace(name);
    api.put('nodes', { metadata: { name: node }, spec: {}, status: {} });
  }

  /** Serving when this returns. */
  startAgent(...more: readonly string[]): Promise<Agent> {
    return start(this.host, [...commandWith(stateDir), ...more]);
  }

  /** Starts the agent of another executable. */
  startReleased(program: string): Promise<Agent> {
    return start(this.host, commandWith(stateDir, program));
  }

  /** One that keeps its state elsewhere. */
  startOther(state: string): Promise<Agent> {
    return start(this.host, commandWith(state));
  }

  /** Kills the agent with SIGKILL, and returns when it has ended. */
  async killAgent({ child }: Agent): Promise<void> {
    child.kill('SIGKILL');
    await until('the agent to be gone', () => child.exitCode !== null || child.signalCode !== null);
  }

  namespace(name: string, labels: Readonly<Record<string, string>> = {}): void {
    this.api.put('namespaces', { metadata: { name, labels } });
  }

  /** Puts the pod into the API. */
  declare(pod: ApiPod): void {
    this.api.put('pods', podObject(pod));
  }

  policy(name: string, spec: Json, namespace?: string): void {
    this.api.put('networkpolicies', policyObject(name, spec, namespace));
  }

  /** A runtime's call for a pod; with a namespace of its own, unless it is a call again. */
  podCall({ name, namespace = 'default', uid = `uid-${name}` }: ApiPod, netns: string, more: Json = {}): Call {
    const args = `IgnoreUnknown=1;K8S_POD_NAMESPACE=${namespace};K8S_POD_NAME=${name};K8S_POD_UID=${uid}`;
    return { config: config({ enforcer: 'agent', ...more }, ranges), containerID: `${namespace}-${name}`, netns, args };
  }

  /** Declared, and plugged in by the executable. */
  async run(pod: ApiPod, more: Json = {}): Promise<PluggedPod> {
    this.declare(pod);
    return await this.plugIn(pod, more);
  }

  async plugIn(pod: ApiPod, more: Json = {}): Promise<PluggedPod> {
    const call = this.podCall(pod, await this.host.pod(), more);
    return new Pod(this.host, pod.name, call, await add(this.host, call));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    rmSync(this.host.path(kubeconfig), { force: true });
    await this.api[Symbol.asyncDispose]();
    this[Symbol.dispose]();
  }
}
