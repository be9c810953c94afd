/**
 * Pods that send from their first instant: a thread with sockets in each of their namespaces, opened before there is any
 * interface, that tries all of them again and again.
 */
import { once } from 'node:events';
import { isMainThread, parentPort, receiveMessageOnPort, Worker, workerData } from 'node:worker_threads';
import { type Family, parseAddress } from '../../lib/ip/address.ts';
import { Netns } from '../../lib/kernel/netns.ts';
import { AF, Descriptor, SOCK, socketAddress } from './tap.ts';

export interface Pod {
  readonly netns: string;
  /** Whom it calls, by UDP and by TCP. */
  readonly targets: readonly string[];
  readonly port: number;
}

interface Order {
  readonly id: number;
  /** Absent: the pod of that number is to fall silent. */
  readonly pod?: Pod;
  /** The pod goes on sending. */
  readonly isQuestion?: boolean;
}

interface Manner {
  /**
   * Never a pause: for a change that is made again and again, where a packet more is a chance more. Such a thread takes a
   * processor; on a busy machine, where it has soon had its share, it is then kept waiting for hundreds of milliseconds in which
   * nothing is sent. A thread that pauses is woken in time.
   */
  readonly isCeaseless?: boolean;
}

/** Milliseconds between two rounds; one round takes as long. */
const PAUSE = 0.5;

/** The result of an order. */
interface Report {
  readonly id: number;
  /** Packets that the pod's stack has taken. */
  readonly taken: number;
}

interface Target {
  readonly address: Buffer;
  readonly datagrams: Descriptor;
  readonly stream: Descriptor;
}

/** The thread's side. */
class Sender implements Disposable {
  readonly #targets: readonly Target[];
  readonly #netns: Netns;
  #taken = 0;

  constructor({ netns, targets, port }: Pod) {
    this.#netns = Netns.open(netns);
    const open = (family: Family, type: number) =>
      new Descriptor(this.#netns, family === 4 ? AF.INET : AF.INET6, type, 0);
    this.#targets = targets.map(text => {
      const address = parseAddress(text)!;
      const { family } = address;
      return {
        address: socketAddress(address, port),
        datagrams: open(family, SOCK.DGRAM),
        stream: open(family, SOCK.STREAM),
      };
    });
  }

  get taken(): number {
    return this.#taken;
  }

  /** A datagram and a SYN to each. */
  send(): void {
    for (const { address, datagrams, stream } of this.#targets) {
      if (datagrams.offer(word, address)) this.#taken++;
      stream.knock(address);
    }
  }

  [Symbol.dispose](): void {
    for (const { datagrams, stream } of this.#targets) {
      datagrams[Symbol.dispose]();
      stream[Symbol.dispose]();
    }
    this.#netns[Symbol.dispose]();
  }
}

const word = Buffer.from('first');

function run(port: NonNullable<typeof parentPort>, { isCeaseless = false }: Manner): void {
  const still = new Int32Array(new SharedArrayBuffer(4));
  const senders = new Map<number, Sender>();
  for (;;) {
    for (const sender of senders.values()) sender.send();
    if (!isCeaseless) Atomics.wait(still, 0, 0, PAUSE);
    const message = receiveMessageOnPort(port) as { readonly message: Order } | undefined;
    if (!message) continue;
    const { id, pod, isQuestion } = message.message;
    const sender = senders.get(id);
    if (isQuestion) {
      port.postMessage({ id, taken: sender?.taken ?? 0 } satisfies Report);
      continue;
    }
    if (pod) senders.set(id, new Sender(pod));
    else {
      sender?.[Symbol.dispose]();
      senders.delete(id);
    }
    port.postMessage({ id, taken: sender?.taken ?? 0 } satisfies Report);
  }
}

/** The test's side. */
export class EagerPods implements AsyncDisposable {
  readonly #thread: Worker;
  readonly #waiting = new Map<number, (report: Report) => void>();
  readonly #failure: Promise<never>;
  #ids = 0;

  constructor(manner: Manner = {}) {
    this.#thread = new Worker(new URL(import.meta.url), { workerData: manner });
    this.#thread.on('message', (report: Report) => this.#waiting.get(report.id)?.(report));
    this.#failure = once(this.#thread, 'error').then(([error]) => {
      throw error;
    });
    this.#failure.catch(() => {});
  }

  async #order(order: Order): Promise<Report> {
    const answered = new Promise<Report>(resolve => this.#waiting.set(order.id, resolve));
    this.#thread.postMessage(order);
    return await Promise.race([answered, this.#failure]);
  }

  /** It is sending when this has resolved. @returns its number */
  async start(pod: Pod): Promise<number> {
    const id = ++this.#ids;
    await this.#order({ id, pod });
    return id;
  }

  /** The number of datagrams that the pod's stack has taken so far. */
  async taken(id: number): Promise<number> {
    return (await this.#order({ id, isQuestion: true })).taken;
  }

  /** It has sent its last packet when this has resolved. @returns how many datagrams its stack has taken */
  async stop(id: number): Promise<number> {
    const { taken } = await this.#order({ id });
    this.#waiting.delete(id);
    return taken;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#thread.terminate();
  }
}

if (!isMainThread && parentPort) run(parentPort, workerData as Manner);
