/** The test of a cluster: pods of the DaemonSet's own image, made by kubectl and taken away again. */
import { randomBytes } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import type { AgentStatus } from '../../controller/agent-report.ts';
import { type Family, parseAddress } from '../../ip/address.ts';
import { type AgentPod, agentPods, type KubectlTarget, kubectl } from '../kubectl/kubectl.ts';
import { progress } from '../progress.ts';
import type { PodReply, TestQuestion } from '../test-pod/pod-program.ts';
import {
  type Asker,
  agentOutcome,
  type CheckOutcome,
  type ConnectivityCheck,
  clusterChecksFor,
  HEADERS,
  likelyCauses,
  NAMESPACE,
  outcomeOf,
  PORT,
  TIMEOUT,
} from './checks.ts';
import { clusterObjects } from './cluster-objects.ts';
import { findingsOf, type Verified } from './examined.ts';
import type { Tested } from './report.ts';
import { CLUSTER_POLICIES, CLUSTER_POLICY_API, TIER_POLICIES, tierChecksFor } from './tiers.ts';
import { untilEnter } from './until-enter.ts';

interface ClusterPod {
  readonly metadata: { readonly name: string };
  readonly status: {
    readonly podIPs?: readonly { readonly ip: string }[];
    readonly hostIPs?: readonly { readonly ip: string }[];
  };
}
interface Found {
  readonly pods: ReadonlyMap<string, ClusterPod>;
  readonly services: readonly string[];
}

export interface ClusterTestOptions extends KubectlTarget {
  readonly hostPort: number;
  readonly isPaused: boolean;
}

/** Milliseconds: a definition that is new is heard of within half a minute. */
const HEARING = 60_000;

const familyOf = (text: string): Family | undefined => parseAddress(text)?.family;
const familiesOf = (texts: readonly string[]): readonly Family[] => texts.flatMap(text => familyOf(text) ?? []);
const ipsOf = (entries: readonly { readonly ip: string }[] = []): readonly string[] => entries.map(({ ip }) => ip);

const said = (error: unknown): string => (error instanceof Error ? error.message : String(error));

export class ClusterTest implements AsyncDisposable {
  readonly #options: ClusterTestOptions;
  /** Its own in each run: for a name of an earlier run, DNS may still answer with that run's address. */
  readonly #service = `open-${randomBytes(3).toString('hex')}`;
  #isMade = false;
  #hasMadeTiers = false;

  constructor(options: ClusterTestOptions) {
    this.#options = options;
  }

  async #json<T>(...args: readonly string[]): Promise<T> {
    return JSON.parse((await kubectl(this.#options, [...args, '--output=json'])).toString()) as T;
  }

  async #image(): Promise<string> {
    interface DaemonSet {
      readonly spec: {
        readonly template: { readonly spec: { readonly containers: readonly { readonly image: string }[] } };
      };
    }
    const { namespace } = this.#options;
    const { spec } = await this.#json<DaemonSet>('--namespace', namespace, 'get', 'daemonset', 'tollgate');
    return spec.template.spec.containers[0]!.image;
  }

  /** @throws Error where pods do not get ready, with what kubectl knows of them */
  async #make(agents: readonly AgentPod[], hasTiers: boolean): Promise<void> {
    const { hostPort } = this.#options;
    const items = clusterObjects({ service: this.#service, image: await this.#image(), hostPort, hasTiers }, agents);
    this.#isMade = true;
    this.#hasMadeTiers = hasTiers;
    progress(`making pods in namespace ${NAMESPACE}`);
    await kubectl(this.#options, ['create', 'namespace', NAMESPACE]);
    const list = JSON.stringify({ apiVersion: 'v1', kind: 'List', items });
    await kubectl(this.#options, ['apply', '--filename=-'], { input: list });
    try {
      const wait = ['wait', '--for=condition=Ready', 'pods', '--all', '--timeout=240s'];
      await kubectl(this.#options, ['--namespace', NAMESPACE, ...wait]);
    } catch (error) {
      throw new Error(`Cannot test: pods did not get ready: ${said(error)}\n${await this.#troubles(agents)}`);
    }
  }

  /** Warning events about our pods, and what is wrong with their nodes. */
  async #troubles(agents: readonly AgentPod[]): Promise<string> {
    const events = ['--namespace', NAMESPACE, 'get', 'events', '--field-selector=type=Warning'];
    const columns = '--output=custom-columns=:.involvedObject.name,:.reason,:.message';
    const warnings = (await kubectl(this.#options, [...events, '--no-headers', columns])).toString().trim();
    return [...(await this.#examined(agents)), warnings].join('\n');
  }

  async #found(): Promise<Found> {
    const { items } = await this.#json<{ items: readonly ClusterPod[] }>('--namespace', NAMESPACE, 'get', 'pods');
    const service = await this.#json<{ spec: { clusterIPs?: readonly string[] } }>(
      '--namespace',
      NAMESPACE,
      'get',
      'service',
      this.#service,
    );
    return { pods: new Map(items.map(pod => [pod.metadata.name, pod])), services: service.spec.clusterIPs ?? [] };
  }

  #target({ to, family }: ConnectivityCheck, { pods, services }: Found): { address: string; port: number } {
    const of = (addresses: readonly string[]) => addresses.find(text => familyOf(text) === family) ?? '';
    if (to.kind === 'pod') return { address: of(ipsOf(pods.get(to.pod)?.status.podIPs)), port: to.port ?? PORT };
    if (to.kind === 'service') return { address: of(services), port: PORT };
    if (to.kind === 'name') return { address: `${this.#service}.${NAMESPACE}.svc`, port: PORT };
    return { address: of(ipsOf(pods.get('open')?.status.hostIPs)), port: this.#options.hostPort };
  }

  async #askAll(from: Asker, checks: readonly ConnectivityCheck[], found: Found): Promise<readonly CheckOutcome[]> {
    const exec = ['--namespace', NAMESPACE, 'exec', from, '--', 'tollgate', 'test-pod', '--ask'];
    const questions = checks.map(
      (check): TestQuestion => ({
        ...this.#target(check, found),
        timeoutMs: TIMEOUT[check.expected],
        ...(check.isFull ? { fillsMtu: HEADERS[check.family] } : {}),
        isNew: check.to.kind === 'service' || check.to.kind === 'name',
      }),
    );
    const replies = JSON.parse(
      (await kubectl(this.#options, [...exec, JSON.stringify(questions)])).toString(),
    ) as PodReply[];
    return checks.map((check, index) => outcomeOf(check, replies[index]));
  }

  /** One of our commands on a node, which prints JSON. @throws Error where the agent's pod cannot be asked */
  async #onNode<T>({ name }: AgentPod, ...command: readonly string[]): Promise<T> {
    const exec = [
      '--namespace',
      this.#options.namespace,
      'exec',
      name,
      '--container=agent',
      '--',
      'tollgate',
      ...command,
    ];
    return JSON.parse((await kubectl(this.#options, [...exec, '-o', 'json'], { fine: [0, 1] })).toString()) as T;
  }

  /** For every node the findings of `verify` and what its agent complains of, or that it cannot be asked. */
  async #examined(agents: readonly AgentPod[]): Promise<readonly string[]> {
    const asked = async (agent: AgentPod, about: () => Promise<readonly string[]>): Promise<readonly string[]> => {
      try {
        return (await about()).map(line => `${agent.node}: ${line}`);
      } catch (error) {
        return [`${agent.node}: its agent cannot be asked: ${said(error)}`];
      }
    };
    const troubles = async (agent: AgentPod): Promise<readonly string[]> => {
      const { waitsFor, problems } = await this.#onNode<AgentStatus>(agent, 'status');
      return [...waitsFor, ...problems];
    };
    const findings = agents.flatMap(agent => [
      asked(agent, async () => findingsOf(await this.#onNode<Verified>(agent, 'verify'))),
      // Of one that is not ready its check has told the cause.
      ...(agent.isReady ? [asked(agent, () => troubles(agent))] : []),
    ]);
    return [...new Set((await Promise.all(findings)).flat())];
  }

  /** Why an agent is not ready, and where to look. */
  async #agentCause(agent: AgentPod): Promise<string> {
    const look = `see \`kubectl --namespace ${this.#options.namespace} logs ${agent.name}\``;
    try {
      const { isReady, waitsFor, problems } = await this.#onNode<AgentStatus>(agent, 'status');
      const why = [...waitsFor, ...problems].join('; ');
      return `${agent.node}: its agent is not ready${why === '' ? '' : `: ${why}`}${isReady ? ', though it says that it is' : ''}; ${look}`;
    } catch (error) {
      return `${agent.node}: its agent does not answer, so no pod is plugged in there and no change of policy takes effect: ${said(error)}; ${look}`;
    }
  }

  /** A check for each node, and the likely causes of those that failed. */
  async #agentChecks(agents: readonly AgentPod[]): Promise<Pick<Tested, 'outcomes' | 'causes'>> {
    interface ClusterNode {
      readonly metadata: { readonly name: string };
      readonly status: { readonly nodeInfo: { readonly operatingSystem: string } };
    }
    const { items } = await this.#json<{ items: readonly ClusterNode[] }>('get', 'nodes');
    const nodes = items.filter(({ status }) => status.nodeInfo.operatingSystem === 'linux');
    const of = (node: string) => agents.find(agent => agent.node === node);
    const checked = nodes.map(({ metadata: { name } }) => {
      const trouble = of(name) ? (of(name)!.isReady ? undefined : 'it is not ready') : 'the DaemonSet has no pod there';
      return agentOutcome(`the agent of ${name}`, trouble);
    });
    const causes = agents.filter(({ isReady }) => !isReady).map(agent => this.#agentCause(agent));
    return { outcomes: checked, causes: await Promise.all(causes) };
  }

  async #hasTiers(): Promise<boolean> {
    try {
      const known = (await kubectl(this.#options, ['get', '--raw', `/apis/${CLUSTER_POLICY_API}`])).toString();
      return known.includes('"clusternetworkpolicies"');
    } catch (error) {
      if (said(error).includes('NotFound')) return false;
      throw error;
    }
  }

  /** Resolves when the agent knows the policies of the cluster that were just made, or after a minute. */
  async #heard(agent: AgentPod): Promise<void> {
    const isHeard = async (): Promise<boolean> => {
      const listed = await this.#onNode<readonly { readonly policy: string }[]>(agent, 'policy', 'list');
      return TIER_POLICIES.every(name => listed.some(({ policy }) => policy.endsWith(`/${name}`)));
    };
    for (const end = performance.now() + HEARING; performance.now() < end && !(await isHeard()); ) await pause(1_000);
  }

  async #askOnPods(ready: readonly AgentPod[], hasTiers: boolean): Promise<readonly CheckOutcome[]> {
    await this.#make(ready, hasTiers);
    if (hasTiers) await this.#heard(ready[0]!);
    progress('');
    if (this.#options.isPaused) await untilEnter('The pods are ready.');
    const found = await this.#found();
    const open = found.pods.get('open')!.status;
    const families = familiesOf(ipsOf(open.podIPs));
    const checks = [
      ...clusterChecksFor({
        families,
        serviceFamilies: familiesOf(found.services),
        hostPortFamilies: familiesOf(ipsOf(open.hostIPs)),
        hasFar: ready.length > 1,
      }),
      ...(hasTiers ? tierChecksFor(families) : []),
    ];
    progress('waiting for answers, and for silence');
    const outcomes: CheckOutcome[] = [];
    for (const from of new Set(checks.map(check => check.from)))
      outcomes.push(
        ...(await this.#askAll(
          from,
          checks.filter(check => check.from === from),
          found,
        )),
      );
    progress('');
    return outcomes;
  }

  /** @throws Error where pods cannot be made or do not get ready */
  async run(told: (outcome: CheckOutcome) => void): Promise<Tested> {
    const agents = await agentPods(this.#options);
    if (agents.length === 0)
      throw new Error(
        `Cannot test: tollgate runs on no node; see \`kubectl --namespace ${this.#options.namespace} get daemonset tollgate\``,
      );
    const checked = await this.#agentChecks(agents);
    checked.outcomes.forEach(told);
    const ready = agents.filter(({ isReady }) => isReady);
    if (ready.length === 0) return { ...checked, notTried: ['pods: no agent is ready'] };
    const hasTiers = await this.#hasTiers();
    const asked = await this.#askOnPods(ready, hasTiers);
    asked.forEach(told);
    const failed = asked.filter(({ ok }) => !ok);
    const causes = failed.length === 0 ? [] : [...(await this.#examined(agents)), ...likelyCauses(failed, 'cluster')];
    return {
      outcomes: [...checked.outcomes, ...asked],
      causes: [...checked.causes, ...causes],
      notTried: [
        ...(ready.length > 1 ? [] : ['pods of two nodes: one agent is ready']),
        ...(hasTiers ? [] : [`policies of the cluster: its API does not know ${CLUSTER_POLICIES} of v1alpha2`]),
      ],
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#isMade) return;
    this.#isMade = false;
    progress('taking the pods away');
    await kubectl(this.#options, ['delete', 'namespace', NAMESPACE, '--ignore-not-found', '--timeout=240s']);
    if (this.#hasMadeTiers)
      await kubectl(this.#options, ['delete', CLUSTER_POLICIES, ...TIER_POLICIES, '--ignore-not-found']);
    progress('');
  }
}
