/** The test of a cluster: pods of the DaemonSet's own image, made by kubectl and taken away again. */
import { type Family, parseAddress } from '../../ip/address.ts';
import { type AgentPod, agentPods, type KubectlTarget, kubectl } from '../kubectl/kubectl.ts';
import type { PodReply, TestQuestion } from '../test-pod/pod-program.ts';
import {
  type Asker,
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
import { findingsOf, type Verified } from './examined.ts';
import type { Tested } from './report.ts';

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
  readonly tell: (line: string) => void;
}

const familyOf = (text: string): Family | undefined => parseAddress(text)?.family;
const familiesOf = (texts: readonly string[]): readonly Family[] => texts.flatMap(text => familyOf(text) ?? []);
const ipsOf = (entries: readonly { readonly ip: string }[] = []): readonly string[] => entries.map(({ ip }) => ip);

/** Where each pod runs: beside the client, or on another node. */
const places = {
  client: 'near',
  stranger: 'near',
  open: 'near',
  server: 'near',
  'far-open': 'far',
  'far-server': 'far',
} as const;
type Name = keyof typeof places;

/** `app` is what the policy selects by: `far-server` is a server. */
function podOf(name: Name, node: string, image: string, hostPort: number): object {
  const port = name === 'open' ? { containerPort: PORT, hostPort } : { containerPort: PORT };
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { namespace: NAMESPACE, name, labels: { app: name.replace('far-', '') } },
    spec: {
      nodeName: node,
      terminationGracePeriodSeconds: 1,
      automountServiceAccountToken: false,
      containers: [
        {
          ...{ name: 'pod', image, imagePullPolicy: 'IfNotPresent' },
          command: ['tollgate', 'test-pod', '--serve', String(PORT)],
          ports: [port],
          // It comes from the node, so a pod that gets ready has been reached by it.
          readinessProbe: { httpGet: { path: '/', port: PORT }, periodSeconds: 1 },
        },
      ],
    },
  };
}

const selects = (app: string) => ({ matchLabels: { app } });

function objects(image: string, [near, far]: readonly AgentPod[], hostPort: number): readonly object[] {
  const names = (Object.keys(places) as Name[]).filter(name => places[name] === 'near' || far !== undefined);
  const metadata = { namespace: NAMESPACE };
  return [
    {
      apiVersion: 'networking.k8s.io/v1',
      kind: 'NetworkPolicy',
      metadata: { ...metadata, name: 'only-client' },
      spec: { podSelector: selects('server'), ingress: [{ from: [{ podSelector: selects('client') }] }] },
    },
    {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { ...metadata, name: 'open' },
      spec: { ipFamilyPolicy: 'PreferDualStack', selector: { app: 'open' }, ports: [{ port: PORT }] },
    },
    ...names.map(name => podOf(name, (places[name] === 'near' ? near : far)!.node, image, hostPort)),
  ];
}

const said = (error: unknown): string => (error instanceof Error ? error.message : String(error));

export class ClusterTest implements AsyncDisposable {
  readonly #options: ClusterTestOptions;
  #isMade = false;

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
  async #make(agents: readonly AgentPod[]): Promise<void> {
    const { hostPort, tell } = this.#options;
    const items = objects(await this.#image(), agents, hostPort);
    this.#isMade = true;
    tell(`making pods in namespace ${NAMESPACE}`);
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

  /** Warning events about our pods, and agents that are not ready. */
  async #troubles(agents: readonly AgentPod[]): Promise<string> {
    const events = ['--namespace', NAMESPACE, 'get', 'events', '--field-selector=type=Warning'];
    const columns = '--output=custom-columns=:.involvedObject.name,:.reason,:.message';
    const warnings = (await kubectl(this.#options, [...events, '--no-headers', columns])).toString().trim();
    const away = agents
      .filter(({ isReady }) => !isReady)
      .map(
        ({ node }) =>
          `The agent of node ${node} is not ready: see \`kubectl tollgate status --node ${node}\` and its log`,
      );
    return [...away, warnings].join('\n');
  }

  async #found(): Promise<Found> {
    const { items } = await this.#json<{ items: readonly ClusterPod[] }>('--namespace', NAMESPACE, 'get', 'pods');
    const service = await this.#json<{ spec: { clusterIPs?: readonly string[] } }>(
      '--namespace',
      NAMESPACE,
      'get',
      'service',
      'open',
    );
    return { pods: new Map(items.map(pod => [pod.metadata.name, pod])), services: service.spec.clusterIPs ?? [] };
  }

  #target({ to, family }: ConnectivityCheck, { pods, services }: Found): { address: string; port: number } {
    const of = (addresses: readonly string[]) => addresses.find(text => familyOf(text) === family) ?? '';
    if (to.kind === 'pod') return { address: of(ipsOf(pods.get(to.pod)?.status.podIPs)), port: PORT };
    if (to.kind === 'service') return { address: of(services), port: PORT };
    if (to.kind === 'name') return { address: `open.${NAMESPACE}.svc`, port: PORT };
    return { address: of(ipsOf(pods.get('open')?.status.hostIPs)), port: this.#options.hostPort };
  }

  async #askAll(from: Asker, checks: readonly ConnectivityCheck[], found: Found): Promise<readonly CheckOutcome[]> {
    const exec = ['--namespace', NAMESPACE, 'exec', from, '--', 'tollgate', 'test-pod', '--ask'];
    const questions = checks.map(
      (check): TestQuestion => ({
        ...this.#target(check, found),
        timeoutMs: TIMEOUT[check.expected],
        ...(check.isFull ? { fillsMtu: HEADERS[check.family] } : {}),
      }),
    );
    const replies = JSON.parse(
      (await kubectl(this.#options, [...exec, JSON.stringify(questions)])).toString(),
    ) as PodReply[];
    return checks.map((check, index) => outcomeOf(check, replies[index]));
  }

  /** For every node the findings of `verify`, or that its agent cannot be asked. */
  async #examined(agents: readonly AgentPod[]): Promise<readonly string[]> {
    const { namespace } = this.#options;
    const ofNode = async ({ name, node }: AgentPod): Promise<readonly string[]> => {
      const exec = [
        '--namespace',
        namespace,
        'exec',
        name,
        '--container=agent',
        '--',
        'tollgate',
        'verify',
        '-o',
        'json',
      ];
      try {
        const text = await kubectl(this.#options, exec, { fine: [0, 1] });
        return findingsOf(JSON.parse(text.toString()) as Verified).map(line => `${node}: ${line}`);
      } catch (error) {
        return [`${node}: its agent cannot be asked: ${said(error)}`];
      }
    };
    return (await Promise.all(agents.map(ofNode))).flat();
  }

  /** @throws Error where pods cannot be made or do not get ready */
  async run(told: (outcome: CheckOutcome) => void): Promise<Tested> {
    const agents = await agentPods(this.#options);
    if (agents.length === 0)
      throw new Error(
        `Cannot test: tollgate runs on no node; see \`kubectl --namespace ${this.#options.namespace} get daemonset tollgate\``,
      );
    await this.#make(agents);
    const found = await this.#found();
    const open = found.pods.get('open')!.status;
    const checks = clusterChecksFor({
      families: familiesOf(ipsOf(open.podIPs)),
      serviceFamilies: familiesOf(found.services),
      hostPortFamilies: familiesOf(ipsOf(open.hostIPs)),
      hasFar: agents.length > 1,
    });
    const outcomes: CheckOutcome[] = [];
    for (const from of new Set(checks.map(check => check.from)))
      outcomes.push(
        ...(await this.#askAll(
          from,
          checks.filter(check => check.from === from),
          found,
        )),
      );
    outcomes.forEach(told);
    const failed = outcomes.filter(({ ok }) => !ok);
    const causes = failed.length === 0 ? [] : [...(await this.#examined(agents)), ...likelyCauses(failed)];
    return { outcomes, causes };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#isMade) return;
    this.#isMade = false;
    await kubectl(this.#options, ['delete', 'namespace', NAMESPACE, '--ignore-not-found', '--timeout=120s']);
  }
}
