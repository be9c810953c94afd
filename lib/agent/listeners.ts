/** The API listener: four lists and watches, folded into what there is, and how each of them fares. */
import type { Client } from '../kube/client.ts';
import type { KubeError } from '../kube/error.ts';
import type { KubeEvent } from '../kube/event.ts';
import { type Change, createFold, type Fold } from '../kube/fold.ts';
import type { Intern } from '../kube/intern.ts';
import type { Complaint, KubeNamespace, KubeNode, KubePod, Resource } from '../kube/object.ts';
import { namespaces, networkPolicies, nodes, pods } from '../kube/object.ts';
import { watch } from '../kube/watch.ts';
import type { NetworkPolicy } from '../policy/model.ts';

/** How a watch fares. */
export interface Hearing {
  readonly resource: string;
  /** The stream is up: what changes is told. */
  readonly isUp: boolean;
  /** Some list was whole. */
  readonly isComplete: boolean;
  readonly objects: number;
  /** Milliseconds since the last sign of life; undefined: there has been none. */
  readonly age: number | undefined;
  /** How often the stream was lost. */
  readonly losses: number;
  /** Why it is not up. */
  readonly trouble?: string;
}

class Listener<T> {
  readonly fold: Fold<T>;
  readonly #client: Client;
  readonly #resource: Resource<T>;
  #isUp = false;
  #heard: number | undefined;
  #losses = 0;
  #trouble: string | undefined;

  constructor(client: Client, resource: Resource<T>, sink: (change: Change<T>) => void) {
    this.#client = client;
    this.#resource = resource;
    this.fold = createFold(resource, sink);
  }

  get hearing(): Hearing {
    const { name: resource } = this.#resource;
    const { isComplete, size: objects } = this.fold;
    const age = this.#heard === undefined ? undefined : this.#client.clock.now() - this.#heard;
    const trouble = this.#isUp || this.#trouble === undefined ? {} : { trouble: this.#trouble };
    return { resource, isUp: this.#isUp, isComplete, objects, age, losses: this.#losses, ...trouble };
  }

  #note(event: KubeEvent<T>): void {
    if (event.type !== 'lost') this.#heard = this.#client.clock.now();
    if (event.type === 'watching') this.#isUp = true;
    if (event.type !== 'lost') return;
    this.#isUp = false;
    this.#losses++;
    this.#trouble = event.error.message;
  }

  /** Ends with the signal. @param news called after each event that changed something, and when a list is whole */
  async listen(options: ListenOptions, news: () => void): Promise<void> {
    for await (const event of watch(this.#client, this.#resource, options)) {
      this.#note(event);
      if (event.type === 'lost') options.lost(this.#resource.name, event.error, event.retryIn);
      const changes = this.fold.apply(event);
      if (changes.length > 0 || event.type === 'listed') news();
    }
  }
}

interface ListenOptions {
  readonly signal: AbortSignal;
  readonly intern: Intern;
  readonly report: (complaint: Complaint) => void;
  readonly lost: (resource: string, error: KubeError, retryIn: number) => void;
}

export interface Sinks {
  readonly pods: (change: Change<KubePod>) => void;
  readonly namespaces: (change: Change<KubeNamespace>) => void;
  readonly policies: (change: Change<NetworkPolicy>) => void;
  readonly nodes: (change: Change<KubeNode>) => void;
}

export class Listeners {
  readonly #pods: Listener<KubePod>;
  readonly #namespaces: Listener<KubeNamespace>;
  readonly #policies: Listener<NetworkPolicy>;
  readonly #nodes: Listener<KubeNode>;

  constructor(client: Client, sinks: Sinks) {
    this.#pods = new Listener(client, pods, sinks.pods);
    this.#namespaces = new Listener(client, namespaces, sinks.namespaces);
    this.#policies = new Listener(client, networkPolicies, sinks.policies);
    this.#nodes = new Listener(client, nodes, sinks.nodes);
  }

  get pods(): Fold<KubePod> {
    return this.#pods.fold;
  }

  get namespaces(): Fold<KubeNamespace> {
    return this.#namespaces.fold;
  }

  get policies(): Fold<NetworkPolicy> {
    return this.#policies.fold;
  }

  get nodes(): Fold<KubeNode> {
    return this.#nodes.fold;
  }

  get hearings(): readonly Hearing[] {
    return [this.#pods, this.#namespaces, this.#policies, this.#nodes].map(({ hearing }) => hearing);
  }

  /** Everything has been listed once: what is not known is not there. */
  get isComplete(): boolean {
    return this.hearings.every(({ isComplete }) => isComplete);
  }

  /** Until the signal is aborted. */
  async listen(options: ListenOptions, news: () => void): Promise<void> {
    const all = [this.#namespaces, this.#policies, this.#nodes, this.#pods];
    await Promise.all(all.map(listener => listener.listen(options, news)));
  }
}
