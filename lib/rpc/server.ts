/**
 * Serves CNI calls on a Unix socket by the protocol of ARCHITECTURE.md, idea 3: a call of this network namespace gets READY
 * before anything is done, runs after GO only, and an ADD is undone when its caller hangs up. A caller that sends garbage,
 * sends too much or stops sending is cut off after a timeout, and delays no other caller.
 */

import { createServer, type Server, type Socket } from 'node:net';
import { messageOf } from '../cni/error.ts';
import { type NetnsIdentity, sameNetns } from '../kernel/netns.ts';
import { hasHungUp, peerOf, type SocketPeer } from '../kernel/peer.ts';
import { Conversation, descriptorOf } from './connection.ts';
import {
  type CallAnswer,
  type CallRequest,
  decodeRequest,
  encodeAnswer,
  encodePlace,
  encodeReason,
  encodeTimeout,
  GREATEST_BODY,
} from './protocol.ts';
import { Turns } from './turns.ts';

export interface Caller extends SocketPeer {
  /** Aborted when the caller hangs up. */
  readonly signal: AbortSignal;
  /** Checks the socket at once, and aborts `signal` if the caller has closed it. */
  readonly look: () => void;
}

/** A call as the serving process has read it. */
export interface ReceivedCall {
  /** Why another process must carry the call out; absent: this one does. */
  readonly refused?: string;
  /**
   * Answer timeout in milliseconds for a caller that cannot parse its own config (the launcher); absent: the caller
   * decides.
   */
  readonly answerTimeout?: number;
  readonly run: (caller: Caller) => Promise<CallAnswer>;
}

/** Milliseconds for each phase that waits for the caller. The call itself has timeouts of its own. */
export interface ServerTimeouts {
  /** From the connection to the last byte of the request. */
  readonly request: number;
  readonly go: number;
  /** Until the answer is taken. */
  readonly answer: number;
}

const defaults: ServerTimeouts = { request: 5_000, go: 10_000, answer: 10_000 };

/** A caller that waits costs a connection and a few KB. One beyond these is refused, and carries its call out itself. */
const MOST_CONNECTIONS = 4096;
/** More calls at once are no faster. Fewer would let calls that wait for locks or the API keep others from starting. */
const MOST_AT_ONCE = 64;

export interface ServerOptions {
  /** The network namespace in which calls are carried out. */
  readonly netns: NetnsIdentity;
  /** Reads a call; called once for each, and changes nothing. */
  readonly receive: (request: CallRequest, peer: SocketPeer) => ReceivedCall;
  /** Calls that are carried out at once; 64 unless said. */
  readonly atOnce?: number;
  /** Told when a connection fails or its caller breaks the protocol. */
  readonly log: (what: string, caller: SocketPeer | undefined) => void;
  readonly timeouts?: Partial<ServerTimeouts>;
}

/** The answer's body; without its lines for stderr where these would make it too long to send. */
function bodyOf(answer: CallAnswer): Uint8Array {
  const body = encodeAnswer(answer);
  return body.length <= GREATEST_BODY ? body : encodeAnswer({ ...answer, lines: [] });
}

export class CallServer {
  readonly server: Server;
  readonly #options: ServerOptions;
  readonly #timeouts: ServerTimeouts;
  /** Conversations whose call has not begun. */
  readonly #idle = new Set<Conversation>();
  readonly #running = new Set<Promise<void>>();
  readonly #turns: Turns;
  #isStopping = false;

  constructor(options: ServerOptions) {
    this.#options = options;
    this.#timeouts = { ...defaults, ...options.timeouts };
    this.#turns = new Turns(options.atOnce ?? MOST_AT_ONCE);
    this.server = createServer(socket => this.#accept(socket));
    // Out of descriptors, for example: a caller that is not accepted runs its call itself.
    this.server.on('error', error => options.log(messageOf(error), undefined));
    this.server.maxConnections = MOST_CONNECTIONS;
  }

  /** Calls that have been accepted and not yet answered. */
  get calls(): number {
    return this.#running.size;
  }

  #accept(socket: Socket): void {
    // Errors of the connection reach its conversation; one before that must not end the process.
    socket.on('error', () => {});
    let peer: SocketPeer | undefined;
    try {
      peer = peerOf(descriptorOf(socket));
      if (peer.uid !== 0) throw new Error(`uid ${peer.uid} may not call: only root may`);
    } catch (error) {
      socket.destroy();
      this.#options.log(messageOf(error), peer);
      return;
    }
    const task = this.#converse(socket, peer).finally(() => this.#running.delete(task));
    this.#running.add(task);
  }

  /** Never rejects. */
  async #converse(socket: Socket, peer: SocketPeer): Promise<void> {
    const talk = new Conversation(socket);
    const look = (): void => {
      if (hasHungUp(descriptorOf(socket))) talk.hangUp();
    };
    this.#idle.add(talk);
    try {
      const request = decodeRequest((await talk.receive(['request'], this.#timeouts.request)).body);
      const received = this.#receive(request, peer);
      if (typeof received === 'string') {
        await talk.finish('notMine', encodeReason(received), this.#timeouts.answer);
        return;
      }
      using _turn = await this.#turnOf(request, talk);
      const { answerTimeout: timeout } = received;
      talk.send('ready', timeout === undefined ? undefined : encodeTimeout(timeout));
      await talk.receive(['go'], this.#timeouts.go);
      if (this.#isStopping) return;
      // A caller that was killed right after GO gets nothing begun.
      look();
      talk.hungUp.throwIfAborted();
      this.#idle.delete(talk);
      const answer = await received.run({ ...peer, signal: talk.hungUp, look });
      await talk.finish('answer', bodyOf(answer), this.#timeouts.answer);
    } catch (error) {
      if (!this.#isStopping) this.#options.log(messageOf(error), peer);
    } finally {
      this.#idle.delete(talk);
      talk[Symbol.dispose]();
    }
  }

  /** STATUS does not queue: kubelet asks by it whether the node can start pods, and would take a busy node for a broken one. */
  async #turnOf(request: CallRequest, talk: Conversation): Promise<Disposable> {
    if (request.env['CNI_COMMAND'] === 'STATUS') return { [Symbol.dispose]() {} };
    return await this.#turns.take(place => talk.send('queued', encodePlace(place)), talk.hungUp);
  }

  /** @returns why the call is refused, else the call */
  #receive(request: CallRequest, peer: SocketPeer): ReceivedCall | string {
    const { netns } = this.#options;
    if (!sameNetns(netns, request.netns))
      return `this agent is in network namespace ${netns.ino}, the caller in ${request.netns.ino}`;
    const received = this.#options.receive(request, peer);
    return received.refused ?? received;
  }

  /** Accepts no more connections, closes those whose call has not begun, and resolves when all others are answered. */
  async stop(): Promise<void> {
    this.#isStopping = true;
    this.server.close();
    for (const talk of this.#idle) talk[Symbol.dispose]();
    await Promise.all(this.#running);
  }
}
