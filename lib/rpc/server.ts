/**
 * Serves CNI calls on a Unix socket, by the rules of ARCHITECTURE.md, idea 3: whose namespace, READY having done nothing, run on
 * GO only, undone when the caller hangs up. A caller that is broken, huge, slow or nobody we serve costs a deadline at most,
 * and only his own.
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
  /** Aborted when he hangs up. */
  readonly signal: AbortSignal;
  /** Aborts it now, where he has. */
  readonly look: () => void;
}

/** Milliseconds for each phase that waits for the caller. The call itself has deadlines of its own. */
export interface ServerDeadlines {
  /** From the connection to the last byte of the request. */
  readonly request: number;
  readonly go: number;
  /** Until the answer is taken. */
  readonly answer: number;
}

const defaults: ServerDeadlines = { request: 5_000, go: 10_000, answer: 10_000 };

/** Callers that wait cost a connection and a few KB each; one more than these carries its call out itself. */
const MOST_CONNECTIONS = 4096;
/** More are no faster; each takes memory, and what a call waits for (locks, the API) must not keep the others from starting. */
const MOST_AT_ONCE = 64;

export interface ServerOptions {
  /** That calls are carried out in. */
  readonly netns: NetnsIdentity;
  /** Why a call is somebody else's; undefined where it is ours. Does nothing. */
  readonly refuse: (request: CallRequest, peer: SocketPeer) => string | undefined;
  /** Calls that are carried out at once. */
  readonly atOnce?: number;
  /** Milliseconds that a caller who cannot tell himself should wait for the answer; undefined where it is for him to say. */
  readonly answerTimeout?: (request: CallRequest) => number | undefined;
  readonly run: (request: CallRequest, caller: Caller) => Promise<CallAnswer>;
  /** What went wrong with a caller. */
  readonly log: (what: string, caller: SocketPeer | undefined) => void;
  readonly deadlines?: Partial<ServerDeadlines>;
}

/** Lines for a log are worth less than the result. */
function bodyOf(answer: CallAnswer): Uint8Array {
  const body = encodeAnswer(answer);
  return body.length <= GREATEST_BODY ? body : encodeAnswer({ ...answer, lines: [] });
}

export class CallServer {
  readonly server: Server;
  readonly #options: ServerOptions;
  readonly #deadlines: ServerDeadlines;
  /** Connections that nothing has been begun for. */
  readonly #idle = new Set<Conversation>();
  readonly #running = new Set<Promise<void>>();
  readonly #turns: Turns;
  #isStopping = false;

  constructor(options: ServerOptions) {
    this.#options = options;
    this.#deadlines = { ...defaults, ...options.deadlines };
    this.#turns = new Turns(options.atOnce ?? MOST_AT_ONCE);
    this.server = createServer(socket => this.#accept(socket));
    // Out of descriptors, say: whoever could not be accepted runs his call himself.
    this.server.on('error', error => options.log(messageOf(error), undefined));
    this.server.maxConnections = MOST_CONNECTIONS;
  }

  /** Of callers who have been let in and not yet been answered. */
  get calls(): number {
    return this.#running.size;
  }

  #accept(socket: Socket): void {
    // Whatever is wrong with a connection is told by its conversation; before that, too, it must not end the process.
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
      const request = decodeRequest((await talk.receive(['request'], this.#deadlines.request)).body);
      const why = this.#refuse(request, peer);
      if (why !== undefined) {
        await talk.finish('notMine', encodeReason(why), this.#deadlines.answer);
        return;
      }
      using _turn = await this.#turnOf(request, talk);
      const timeout = this.#options.answerTimeout?.(request);
      talk.send('ready', timeout === undefined ? undefined : encodeTimeout(timeout));
      await talk.receive(['go'], this.#deadlines.go);
      if (this.#isStopping) return;
      // Who was killed right after.
      look();
      talk.hungUp.throwIfAborted();
      this.#idle.delete(talk);
      const answer = await this.#options.run(request, { ...peer, signal: talk.hungUp, look });
      await talk.finish('answer', bodyOf(answer), this.#deadlines.answer);
    } catch (error) {
      if (!this.#isStopping) this.#options.log(messageOf(error), peer);
    } finally {
      this.#idle.delete(talk);
      talk[Symbol.dispose]();
    }
  }

  /** STATUS waits for nobody: kubelet asks by it whether the node can start pods, and would take a busy node for a broken one. */
  async #turnOf(request: CallRequest, talk: Conversation): Promise<Disposable> {
    if (request.env['CNI_COMMAND'] === 'STATUS') return { [Symbol.dispose]() {} };
    return await this.#turns.take(place => talk.send('queued', encodePlace(place)), talk.hungUp);
  }

  #refuse(request: CallRequest, peer: SocketPeer): string | undefined {
    const { netns } = this.#options;
    if (!sameNetns(netns, request.netns))
      return `this agent is in network namespace ${netns.ino}, the caller in ${request.netns.ino}`;
    return this.#options.refuse(request, peer);
  }

  /** Accepts no more, sends away whom nothing was begun for, and resolves when the calls under way have their answers. */
  async stop(): Promise<void> {
    this.#isStopping = true;
    this.server.close();
    for (const talk of this.#idle) talk[Symbol.dispose]();
    await Promise.all(this.#running);
  }
}
