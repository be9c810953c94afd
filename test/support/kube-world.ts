/** Shared by tests of the API listener: objects as a real server sends them, and a listener on a fake server. */
import { type Client, type ClientOptions, createClient } from '../../lib/kube/client.ts';
import type { Credentials } from '../../lib/kube/credentials.ts';
import type { KubeEvent } from '../../lib/kube/event.ts';
import type { Resource } from '../../lib/kube/object.ts';
import { type WatchOptions, watch } from '../../lib/kube/watch.ts';
import { type ApiObject, FakeApi, type FakeApiOptions } from './fake-api.ts';
import { ManualClock } from './manual-clock.ts';

export interface PodFields {
  readonly namespace?: string;
  readonly uid?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly ips?: readonly string[];
  readonly phase?: string;
  readonly deletionTimestamp?: string;
}

/** A pod with what a real one has besides what policy needs. */
export function podObject(name: string, fields: PodFields = {}): ApiObject {
  const { namespace = 'shop', uid = `uid-${name}`, labels = { app: name }, ips = [], phase = 'Running' } = fields;
  const { deletionTimestamp } = fields;
  return {
    metadata: {
      name,
      namespace,
      uid,
      labels,
      ...(deletionTimestamp === undefined ? {} : { deletionTimestamp }),
      managedFields: [
        { manager: 'kubelet', fieldsV1: { 'f:status': { 'f:conditions': { 'k:{"type":"Ready"}': {} } } } },
      ],
    },
    spec: {
      nodeName: 'node-1',
      containers: [{ name: 'c', image: 'example/web:1', ports: [{ name: 'http', containerPort: 8080 }] }],
    },
    status: { phase, podIPs: ips.map(ip => ({ ip })), ...(ips[0] === undefined ? {} : { podIP: ips[0] }) },
  };
}

export const nodeObject = (name: string, podCIDRs: readonly string[] = [], address = '192.0.2.1'): ApiObject => ({
  metadata: { name, labels: { 'kubernetes.io/hostname': name } },
  spec: { podCIDR: podCIDRs[0], podCIDRs },
  status: {
    addresses: [
      { type: 'InternalIP', address },
      { type: 'Hostname', address: name },
    ],
    conditions: [{ type: 'Ready', status: 'True' }],
    images: [{ names: ['example/web:1'], sizeBytes: 1e8 }],
  },
});

const openly = (server: string, authorization = 'Bearer t'): Credentials => ({
  server,
  read: () => ({ authorization, tls: {} }),
});

/** A server, a client of it, and time that stands still; nothing is random. */
export class Room implements AsyncDisposable {
  readonly api: FakeApi;
  readonly clock = new ManualClock();
  readonly client: Client;
  readonly #stop = new AbortController();

  private constructor(api: FakeApi, options: ClientOptions) {
    this.api = api;
    this.client = createClient(openly(api.url), { ...options, clock: this.clock });
  }

  static async open(options: FakeApiOptions & ClientOptions = {}): Promise<Room> {
    return new Room(await FakeApi.start(options), options);
  }

  /** @param options random is 1 unless given: back-off takes the whole of its time */
  listen<T>(resource: Resource<T>, options: Partial<WatchOptions> = {}): Listener<T> {
    const { signal } = this.#stop;
    return new Listener(watch(this.client, resource, { signal, random: () => 1, ...options }), this.clock);
  }

  get signal(): AbortSignal {
    return this.#stop.signal;
  }

  stop(): void {
    this.#stop.abort();
  }

  /** A round trip to the server: what it sent before, on whatever connection, has come by now. */
  async settle(): Promise<void> {
    for (let i = 0; i < 2; i++) await this.client.json({ action: 'settle', path: '/api/v1/nodes' });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.stop();
    this.client[Symbol.dispose]();
    await this.api[Symbol.asyncDispose]();
  }
}

function nameOf(object: unknown): string {
  if (typeof object !== 'object' || object === null) return '?';
  if ('policy' in object) return nameOf(object.policy);
  return 'name' in object ? String(object.name) : '?';
}

/** `set web`, `lost Expired`, `listed` */
function textOf(event: KubeEvent<unknown>): string {
  if (event.type === 'set' || event.type === 'deleted') return `${event.type} ${nameOf(event.object)}`;
  return event.type === 'lost' ? `lost ${event.error.reason}` : event.type;
}

/** Events, asked for one by one; the clock goes on by itself only while a retry is waited for. */
export class Listener<T> {
  readonly #events: AsyncGenerator<KubeEvent<T>, void>;
  readonly #clock: ManualClock;
  #pause = 0;

  constructor(events: AsyncGenerator<KubeEvent<T>, void>, clock: ManualClock) {
    this.#events = events;
    this.#clock = clock;
  }

  /** The next event; undefined when there will be none. */
  async next(): Promise<KubeEvent<T> | undefined> {
    const coming = this.#events.next();
    const pause = this.#pause;
    this.#pause = 0;
    if (pause > 0) {
      await this.#clock.armed(pause);
      this.#clock.advance(pause);
    }
    const { value } = await coming;
    if (value?.type === 'lost' || value?.type === 'absent') this.#pause = value.retryIn;
    return value ?? undefined;
  }

  /** Ends the listener, as leaving a `for await` loop does. */
  async leave(): Promise<void> {
    await this.#events.return();
  }

  /** The events up to the first of that text, as texts. */
  async upTo(last: string): Promise<readonly string[]> {
    const texts: string[] = [];
    for (;;) {
      const event = await this.next();
      if (!event) throw new Error(`the events ended before "${last}", after ${texts.join(', ')}`);
      texts.push(textOf(event));
      if (texts.at(-1) === last) return texts;
      if (texts.length > 200_000) throw new Error(`no "${last}" after ${texts.slice(0, 20).join(', ')}`);
    }
  }

  /** Reads on to the event that tells of the loss: its error, and the wait before the next try. */
  async lost(): Promise<Extract<KubeEvent<T>, { readonly type: 'lost' }>> {
    for (;;) {
      const event = await this.next();
      if (!event) throw new Error('the events ended, and nothing was lost');
      if (event.type === 'lost') return event;
    }
  }
}
