/** The test on this node: pods as processes of our own, plugged in by the node's own conflist, and taken away again. */
import { rmdirSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { type Family, parseAddress } from '../../ip/address.ts';
import { isErrno } from '../../kernel/message.ts';
import { makeFolders } from '../../state/make-folders.ts';
import { placeText } from '../install/place.ts';
import { progress } from '../progress.ts';
import { TestPod } from '../test-pod/pod-process.ts';
import { ask, type PodReply, type TestQuestion } from '../test-pod/pod-program.ts';
import {
  type Asker,
  type CheckOutcome,
  type ConnectivityCheck,
  checksFor,
  HEADERS,
  likelyCauses,
  manifests,
  NAMESPACE,
  type NodeAbilities,
  notTriedOnNode,
  outcomeOf,
  PORT,
  type TestPodName,
  TIMEOUT,
} from './checks.ts';
import { examinedHere } from './examined.ts';
import type { Network } from './network.ts';
import type { Tested } from './report.ts';
import { TIER_PORTS, tierChecksFor, tierPolicies } from './tiers.ts';
import { untilEnter } from './until-enter.ts';
import { askWarmProcess } from './warm-process.ts';

export interface NodeTestOptions {
  readonly policies: string;
  readonly runDir: string;
  /** An address and port beyond the node. */
  readonly outside?: { readonly address: string; readonly port: number };
  /** An address of the node for each family, at which hostPorts are asked. */
  readonly nodeAddresses: readonly string[];
  readonly hostPort: number;
  readonly isPaused: boolean;
  readonly verifyArguments: readonly string[];
}

const names: readonly TestPodName[] = ['client', 'stranger', 'server', 'open'];
const familyOf = (text: string): Family | undefined => parseAddress(text)?.family;

/** The folder and those above it, as far as they are empty. @param last the uppermost that may go */
function removeEmptyFolders(folder: string, last: string): void {
  try {
    rmdirSync(folder);
  } catch (error) {
    if (isErrno(error, 'ENOTEMPTY', 'EEXIST', 'ENOENT')) return;
    throw error;
  }
  if (folder !== last) removeEmptyFolders(dirname(folder), last);
}

/** Waits for all tasks, which run at once. @throws what the first failed with, once all are over */
async function eachDone(tasks: readonly Promise<void>[]): Promise<void> {
  await Promise.allSettled(tasks);
  await Promise.all(tasks);
}

export class NodeTest implements AsyncDisposable {
  readonly #network: Network;
  readonly #options: NodeTestOptions;
  readonly #pods = new Map<TestPodName, TestPod>();
  readonly #undo = new AsyncDisposableStack();
  /** What takes each pod away. */
  readonly #removals: AsyncDisposableStack[] = [];
  /** MTU of the pods' interfaces. */
  #mtu = 0;

  constructor(network: Network, options: NodeTestOptions) {
    this.#network = network;
    this.#options = options;
  }

  get #isEnforced(): boolean {
    return this.#network.own['enforcer'] === undefined || this.#network.own['enforcer'] === 'inline';
  }

  #writePolicies(): void {
    const { policies } = this.#options;
    const path = join(policies, `${NAMESPACE}.yaml`);
    const made = makeFolders(policies, 0o755);
    if (made !== undefined) this.#undo.defer(() => removeEmptyFolders(policies, made));
    this.#undo.defer(() => rmSync(path, { force: true }));
    placeText(path, [manifests, ...tierPolicies.map(each => `${JSON.stringify(each)}\n`)].join('---\n'));
  }

  async #plug(name: TestPodName): Promise<void> {
    const removal = new AsyncDisposableStack();
    this.#removals.push(removal);
    const pod = removal.use(await TestPod.start(NAMESPACE, name, { app: name }));
    const { hostPort } = this.#options;
    const attached = {
      containerID: `${NAMESPACE}-${name}`,
      netns: pod.netns,
      args: `IgnoreUnknown=1;K8S_POD_NAMESPACE=${NAMESPACE};K8S_POD_NAME=${name}`,
      runtimeConfig: {
        labels: pod.labels,
        'io.kubernetes.cri.pod-annotations': {},
        ...(name === 'open' ? { portMappings: [{ hostPort, containerPort: PORT, protocol: 'tcp' }] } : {}),
      },
    };
    const added = this.#network.add(attached);
    removal.defer(async () => {
      // A DEL that came first would find nothing to undo. Also where ADD fails: it may have left something.
      await Promise.allSettled([added]);
      await this.#network.remove(attached);
    });
    const { ips = [] } = await added;
    pod.addresses = ips.map(({ address }) => address.split('/')[0]!);
    const family = pod.addresses.some(text => familyOf(text) === 6) ? 6 : 4;
    await pod.order({ kind: 'serve', ports: [PORT, ...TIER_PORTS], greeting: `hello from ${name}`, family });
    const reply = await pod.order({ kind: 'mtu' });
    if (reply.kind === 'mtu') this.#mtu = reply.mtu;
    this.#pods.set(name, pod);
  }

  /** @throws Error where a pod cannot be plugged in, with what the plugin says */
  async prepare(): Promise<void> {
    const { isPaused } = this.#options;
    if (this.#isEnforced) this.#writePolicies();
    progress(`plugging in ${names.map(name => `${NAMESPACE}/${name}`).join(', ')}`);
    this.#undo.defer(() => eachDone(this.#removals.map(removal => removal.disposeAsync())));
    await eachDone(names.map(name => this.#plug(name)));
    progress('');
    if (isPaused) await untilEnter('The pods are plugged in.');
  }

  #pod(name: TestPodName): TestPod {
    const pod = this.#pods.get(name);
    if (!pod) throw new Error(`Cannot ask pod ${name}: it is not plugged in`);
    return pod;
  }

  #target({ to, family }: ConnectivityCheck): { readonly address: string; readonly port: number } {
    const of = (addresses: readonly string[]): string => addresses.find(text => familyOf(text) === family)!;
    if (to.kind === 'pod') return { address: of(this.#pod(to.pod).addresses), port: to.port ?? PORT };
    if (to.kind === 'outside') return this.#options.outside!;
    return { address: of(this.#options.nodeAddresses), port: this.#options.hostPort };
  }

  #question(check: ConnectivityCheck): TestQuestion {
    return {
      ...this.#target(check),
      timeoutMs: TIMEOUT[check.expected],
      ...(check.isFull ? { datagram: this.#mtu - HEADERS[check.family] } : {}),
    };
  }

  /** All at once, so that what fails is waited for once. */
  async #askAll(from: Asker, checks: readonly ConnectivityCheck[]): Promise<readonly CheckOutcome[]> {
    const questions = checks.map(check => this.#question(check));
    const reply: PodReply =
      from === 'node'
        ? { kind: 'replies', replies: await Promise.all(questions.map(ask)) }
        : await this.#pod(from).order({ kind: 'ask all', questions });
    const replies = reply.kind === 'replies' ? reply.replies : [];
    return checks.map((check, index) => outcomeOf(check, replies[index]));
  }

  /** @param told each outcome, in order */
  async run(told: (outcome: CheckOutcome) => void): Promise<Tested> {
    const { nodeAddresses, outside, runDir, verifyArguments } = this.#options;
    const families = this.#pod('open').addresses.flatMap(text => familyOf(text) ?? []);
    const outsideFamily = outside && familyOf(outside.address);
    const abilities: NodeAbilities = {
      families,
      hostPortFamilies: this.#network.has('portMappings') ? nodeAddresses.flatMap(text => familyOf(text) ?? []) : [],
      outside: outsideFamily === undefined ? undefined : { family: outsideFamily },
      isEnforced: this.#isEnforced,
    };
    const checks = [...checksFor(abilities), ...(this.#isEnforced ? tierChecksFor(families) : [])];
    const agent = this.#isEnforced ? await askWarmProcess(this.#network, runDir) : undefined;
    progress('waiting for answers, and for silence');
    const askers = [...new Set(checks.map(({ from }) => from))];
    const asked = askers.map(from =>
      this.#askAll(
        from,
        checks.filter(check => check.from === from),
      ),
    );
    const byAsker = new Map((await Promise.all(asked)).map((outcomes, index) => [askers[index]!, [...outcomes]]));
    const outcomes = [
      ...(agent ? [agent.outcome] : []),
      ...checks.flatMap(({ from }) => byAsker.get(from)?.shift() ?? []),
    ];
    progress('');
    outcomes.forEach(told);
    const failed = outcomes.filter(({ ok }) => !ok);
    const examined = failed.length === 0 ? [] : await examinedHere(verifyArguments);
    const causes = [...(agent?.cause === undefined ? [] : [agent.cause]), ...examined, ...likelyCauses(failed, 'node')];
    return { outcomes, causes, notTried: notTriedOnNode(abilities) };
  }

  /** Pods, policies and what the plugin made for them. */
  async [Symbol.asyncDispose](): Promise<void> {
    progress('taking the pods away');
    await this.#undo[Symbol.asyncDispose]();
    progress('');
  }
}
