/** The API listener: lists and watches, the objects that they come to, and the state of each watch. */
import { messageOf } from '../cni/error.ts';
import { createBackoff } from '../kube/backoff.ts';
import type { Client } from '../kube/client.ts';
import { pause } from '../kube/clock.ts';
import { KubeError } from '../kube/error.ts';
import type { KubeEvent } from '../kube/event.ts';
import { createFold, type Fold, type ObjectChange } from '../kube/fold.ts';
import { watchTimeoutMs } from '../kube/follow.ts';
import type { Intern } from '../kube/intern.ts';
import type {
  KubeClusterPolicy,
  KubeNamespace,
  KubeNetworkPolicy,
  KubeNode,
  KubePod,
  ObjectProblem,
  Resource,
} from '../kube/object.ts';
import { clusterPolicies, namespaces, networkPolicies, nodes, pods } from '../kube/object.ts';
import { watch } from '../kube/watch.ts';
import type { Log } from '../rpc/log.ts';

/**
 * Milliseconds after which a watch should have heard something: a silent stream is given up before, and the request for
 * another one has its own deadline.
 */
export const longestSilence = watchTimeoutMs + 60_000;

/** How a watch fares. */
export interface WatchStatus {
  readonly resource: string;
  /** The stream is up: what changes is told. Also where the server has no such resource, and is asked again. */
  readonly isUp: boolean;
  /** The server has no such resource. */
  readonly isAbsent?: true;
  /** Some list was whole. */
  readonly isComplete: boolean;
  readonly objects: number;
  /** Milliseconds since the last sign of life; undefined: there has been none. A list is one once it is whole. */
  readonly age: number | undefined;
  /** Nothing has been heard for longer than `longestSilence`: what it tells may be out of date. */
  readonly isOverdue: boolean;
  /** Not even a failed attempt has been told for that long: the listener itself stands still. */
  readonly isStuck: boolean;
  /** How often the stream was lost. */
  readonly losses: number;
  /** Why it is not up. */
  readonly trouble?: string;
  /** The change that it heard and could not take in; it lists and tries again until it can. */
  readonly fault?: string;
}

class ResourceWatch<T> {
  readonly fold: Fold<T>;
  readonly #client: Client;
  readonly #resource: Resource<T>;
  #isUp = false;
  #isAbsent = false;
  #isListing = false;
  /** When it began to listen, was heard last, and told of anything last, be it a failure: milliseconds of the clock. */
  #since: number | undefined;
  #heard: number | undefined;
  #told: number | undefined;
  #losses = 0;
  #trouble: string | undefined;
  #fault: string | undefined;

  constructor(client: Client, resource: Resource<T>, sink: (change: ObjectChange<T>) => void) {
    this.#client = client;
    this.#resource = resource;
    this.fold = createFold(resource, sink);
  }

  get status(): WatchStatus {
    const { name: resource } = this.#resource;
    const { isComplete, size: objects } = this.fold;
    const isUp = this.#isUp;
    const trouble = isUp || this.#trouble === undefined ? {} : { trouble: this.#trouble };
    const fault = this.#fault === undefined ? {} : { fault: this.#fault };
    return {
      ...{ resource, isUp, isComplete, objects, losses: this.#losses, ...trouble, ...fault },
      ...(this.#isAbsent ? { isAbsent: true } : {}),
      age: this.#ageOf(this.#heard),
      isOverdue: (this.#ageOf(this.#heard ?? this.#since) ?? 0) > longestSilence,
      isStuck: (this.#ageOf(this.#told ?? this.#since) ?? 0) > longestSilence,
    };
  }

  #ageOf(time: number | undefined): number | undefined {
    return time === undefined ? undefined : this.#client.clock.now() - time;
  }

  #note(event: KubeEvent<T>): void {
    this.#told = this.#client.clock.now();
    if (event.type === 'listing') this.#isListing = true;
    if (event.type === 'listed' || event.type === 'lost') this.#isListing = false;
    if (event.type === 'watching' || event.type === 'absent') this.#isUp = true;
    if (event.type === 'watching' || event.type === 'lost') this.#isAbsent = false;
    if (event.type === 'absent') this.#isAbsent = true;
    if (event.type !== 'lost') {
      if (!this.#isListing) this.#heard = this.#told;
      return;
    }
    this.#isUp = false;
    this.#losses++;
    this.#trouble = event.error.message;
  }

  /**
   * Listens until the signal is aborted. A fault of our own neither ends the watch nor keeps other objects back: it is told, and
   * after a while everything is listed again.
   * @param news called after each event that changed something, and when a list is whole
   */
  async listen(options: ListenOptions, news: () => void): Promise<void> {
    const { signal } = options;
    const { clock } = this.#client;
    const backoff = createBackoff(Math.random);
    this.#since = clock.now();
    while (!signal.aborted) {
      const round = new AbortController();
      let retryIn: number | undefined;
      let cancel = (): void => undefined;
      const failed = (error: unknown): void => {
        this.#fault = messageOf(error);
        if (retryIn !== undefined) return;
        retryIn = backoff.next();
        cancel = clock.after(retryIn, () => round.abort());
        options.lost(this.#resource.name, this.#faultOf(error), retryIn);
      };
      try {
        for await (const event of watch(this.#client, this.#resource, {
          ...options,
          signal: AbortSignal.any([signal, round.signal]),
        })) {
          this.#take(event, options, news, failed);
          if (event.type !== 'listed' || retryIn !== undefined) continue;
          this.#fault = undefined;
          backoff.reset();
        }
      } catch (error) {
        failed(error);
        this.#isUp = false;
        this.#trouble = messageOf(error);
        await pause(clock, retryIn ?? 0, signal);
      } finally {
        cancel();
      }
    }
  }

  #take(event: KubeEvent<T>, { lost }: ListenOptions, news: () => void, failed: (error: unknown) => void): void {
    this.#note(event);
    if (event.type === 'lost') lost(this.#resource.name, event.error, event.retryIn);
    try {
      const changes = this.fold.apply(event);
      if (changes.length > 0 || event.type === 'listed') news();
    } catch (error) {
      failed(error);
      news();
    }
  }

  #faultOf(error: unknown): KubeError {
    const { name } = this.#resource;
    return new KubeError(`take in ${name}`, { reason: 'Fault', message: messageOf(error) }, error);
  }
}

interface ListenOptions {
  readonly signal: AbortSignal;
  readonly intern: Intern;
  readonly report: (complaint: ObjectProblem) => void;
  readonly lost: (resource: string, error: KubeError, retryIn: number) => void;
}

/** Older servers send no bookmarks for what never changes: that a silent stream is asked for anew is worth no warning. */
export const logLoss =
  (log: Log): ListenOptions['lost'] =>
  (resource, error, retryIn) =>
    log(error.reason === 'Silent' ? 'debug' : 'warn', `Lost the watch of ${resource}: ${error.message}`, {
      retryIn: Math.round(retryIn),
    });

export interface Sinks {
  readonly pods: (change: ObjectChange<KubePod>) => void;
  readonly namespaces: (change: ObjectChange<KubeNamespace>) => void;
  readonly policies: (change: ObjectChange<KubeNetworkPolicy>) => void;
  readonly clusterPolicies: (change: ObjectChange<KubeClusterPolicy>) => void;
  readonly nodes: (change: ObjectChange<KubeNode>) => void;
}

export class Watches {
  readonly #pods: ResourceWatch<KubePod>;
  readonly #namespaces: ResourceWatch<KubeNamespace>;
  readonly #policies: ResourceWatch<KubeNetworkPolicy>;
  /** One watch for each kind. */
  readonly #clusterPolicies: readonly ResourceWatch<KubeClusterPolicy>[];
  readonly #nodes: ResourceWatch<KubeNode>;

  constructor(client: Client, sinks: Sinks) {
    this.#pods = new ResourceWatch(client, pods, sinks.pods);
    this.#namespaces = new ResourceWatch(client, namespaces, sinks.namespaces);
    this.#policies = new ResourceWatch(client, networkPolicies, sinks.policies);
    this.#clusterPolicies = clusterPolicies.map(kind => new ResourceWatch(client, kind, sinks.clusterPolicies));
    this.#nodes = new ResourceWatch(client, nodes, sinks.nodes);
  }

  get pods(): Fold<KubePod> {
    return this.#pods.fold;
  }

  get namespaces(): Fold<KubeNamespace> {
    return this.#namespaces.fold;
  }

  get policies(): Fold<KubeNetworkPolicy> {
    return this.#policies.fold;
  }

  /** Cluster policies of all kinds. */
  *clusterPolicies(): Generator<KubeClusterPolicy> {
    for (const { fold } of this.#clusterPolicies) yield* fold.objects();
  }

  get nodes(): Fold<KubeNode> {
    return this.#nodes.fold;
  }

  get statuses(): readonly WatchStatus[] {
    const all = [this.#pods, this.#namespaces, this.#policies, this.#nodes, ...this.#clusterPolicies];
    return all.map(({ status }) => status);
  }

  /** Everything has been listed once: what is not known is not there. */
  get isComplete(): boolean {
    return this.statuses.every(({ isComplete }) => isComplete);
  }

  /** Listens to everything until the signal is aborted. */
  async listen(options: ListenOptions, news: () => void): Promise<void> {
    const all = [this.#namespaces, this.#policies, ...this.#clusterPolicies, this.#nodes, this.#pods];
    await Promise.all(all.map(listener => listener.listen(options, news)));
  }
}
