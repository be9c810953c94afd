/** Finds the API's object of a pod that is plugged in here, and of its namespace: by the watch, else by requests. */
import { CniError, codes, messageOf } from '../cni/error.ts';
import type { LocalPod } from '../gate/node-state.ts';
import type { Client } from '../kube/client.ts';
import { pause } from '../kube/clock.ts';
import { isNoOlder, type KubeNetworkPolicy, type KubePod } from '../kube/object.ts';
import { findNamespace, getPod, type Limits, listPolicies } from '../kube/single.ts';
import type { LiveRules } from '../policy/compile/live.ts';
import { isSamePod } from './own-pods.ts';
import type { Watches } from './watches.ts';

/** Milliseconds that an ADD waits for the API when no watch has told of its pod, or of its namespace, yet. */
const REQUEST_TIMEOUT = 5_000;
/** The same where the API has told of policies, and the watch has not; and after how many it is looked at again. */
const WATCH_TIMEOUT = 5_000;
const LOOK_INTERVAL = 20;

export class DeclaredPods {
  readonly #client: Client;
  readonly #watches: Watches;
  readonly #rules: LiveRules;

  constructor(client: Client, watches: Watches, rules: LiveRules) {
    this.#client = client;
    this.#watches = watches;
    this.#rules = rules;
  }

  /** The pod as the watch has it; undefined where the watch has another pod of that name, or none. */
  readonly known = (pod: Omit<LocalPod, 'tag'>): KubePod | undefined => {
    const known = this.#watches.pods.get(pod);
    return known && isSamePod(pod, known) ? known : undefined;
  };

  /**
   * The pod as the watch or, failing that, the API has it; by then the rules know its namespace. Where the watches have not
   * told of the pod or of its namespace, they are behind, and may be so with a policy that was there before the pod.
   * @throws CniError code 11 where the API has no such pod or does not answer, or the watch does not tell of a policy; the
   *   signal's reason where it is aborted
   */
  readonly declared = async (pod: Omit<LocalPod, 'tag'>, signal: AbortSignal | undefined): Promise<KubePod> => {
    const known = this.known(pod);
    if (known && this.#isNamespaceKnown(pod)) return known;
    const found = known ?? (await this.#asked(pod, signal));
    await this.#hearNamespace(pod, signal);
    await this.#hearPolicies(pod, signal);
    return found;
  };

  async #asked(pod: Omit<LocalPod, 'tag'>, signal: AbortSignal | undefined): Promise<KubePod> {
    const found = await ask(pod, 'it', signal, limits => getPod(this.#client, pod, limits));
    if (found && isSamePod(pod, found)) return found;
    const what = found ? `the API has another pod of that name, with uid ${found.uid}` : 'the API has no such pod';
    throw new CniError(codes.tryAgainLater, `Cannot judge pod ${nameOf(pod)}: ${what}`, 'the runtime tries again');
  }

  #isNamespaceKnown({ namespace: name }: Omit<LocalPod, 'tag'>): boolean {
    return this.#watches.namespaces.get({ namespace: '', name }) !== undefined;
  }

  /** Cluster policies select pods by labels of their namespace: a new one may be told later than the first pod in it. */
  async #hearNamespace(pod: Omit<LocalPod, 'tag'>, signal: AbortSignal | undefined): Promise<void> {
    if (this.#isNamespaceKnown(pod)) return;
    const name = pod.namespace;
    const found = await ask(pod, 'its namespace', signal, limits => findNamespace(this.#client, name, limits));
    // What the watch has told meanwhile goes before it, and so does what it tells later.
    if (found && !this.#isNamespaceKnown(pod)) this.#rules.setNamespace(name, found.labels);
  }

  /** Waits for the watch rather than take a policy from the answer: only the watch tells when the policy is gone. */
  async #hearPolicies(pod: Omit<LocalPod, 'tag'>, signal: AbortSignal | undefined): Promise<void> {
    const { clock } = this.#client;
    const what = 'the policies of its namespace';
    const said = await ask(pod, what, signal, limits => listPolicies(this.#client, pod.namespace, limits));
    const isTold = (policy: KubeNetworkPolicy): boolean => {
      const told = this.#watches.policies.get(policy);
      return told !== undefined && isNoOlder(told, policy);
    };
    const deadline = clock.now() + WATCH_TIMEOUT;
    for (;;) {
      const untold = said.find(policy => !isTold(policy));
      if (!untold) return;
      if (clock.now() >= deadline) throw lateWatch(pod, untold);
      await pause(clock, LOOK_INTERVAL, signal ?? new AbortController().signal);
      signal?.throwIfAborted();
    }
  }
}

const lateWatch = (pod: Omit<LocalPod, 'tag'>, { namespace, name }: KubeNetworkPolicy): CniError =>
  new CniError(
    codes.tryAgainLater,
    `Cannot judge pod ${nameOf(pod)}: the watch has not told of NetworkPolicy ${namespace}/${name}, as the API has it now`,
    'the runtime tries again; `tollgate status` says how the watches fare',
  );

const nameOf = ({ namespace, name }: Omit<LocalPod, 'tag'>): string => `${namespace}/${name}`;

/** The API's answer. @throws CniError code 11 where there is none; the signal's reason where it is aborted */
async function ask<T>(
  pod: Omit<LocalPod, 'tag'>,
  what: string,
  signal: AbortSignal | undefined,
  request: (limits: Limits) => Promise<T>,
): Promise<T> {
  try {
    return await request({ timeoutMs: REQUEST_TIMEOUT, ...(signal ? { signal } : {}) });
  } catch (error) {
    signal?.throwIfAborted();
    throw new CniError(
      codes.tryAgainLater,
      `Cannot judge pod ${nameOf(pod)}: nothing is known of ${what}`,
      messageOf(error),
    );
  }
}
