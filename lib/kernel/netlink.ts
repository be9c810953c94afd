/**
 * Netlink without waiting. The package `netlink` hands over what comes as the event loop turns; but the kernel has answered by
 * the time that send() returns, so send() and recv() on the same descriptor are a whole exchange, and nothing else of this
 * process can come between. The package's part in it are the messages; what comes by itself is for `Subscription`.
 */
import { align, countMessages, formatHeader, type Message, NLM_F, NLMSG } from '../netlink/header.ts';
import { DatagramSocket } from './datagram-socket.ts';
import { errnos } from './errno.ts';
import {
  complaintOf,
  type Exchange,
  must,
  type NetlinkAnswer,
  NetlinkError,
  type NetlinkErrorDetail,
  type NetlinkReply,
  type NetlinkRequest,
  OutcomeUnknownError,
  Refused,
} from './message.ts';
import { MSG, type NetlinkProtocol } from './socket.ts';

const { EINTR, ENOMSG } = errnos;

/** A dump that was interrupted this often by changes meets a machine that never rests. */
const DUMP_ATTEMPTS = 20;

/** Bytes of a datagram that the kernel fills a dump with: 32 KiB where the reader has room for as much. */
const LARGEST_PART = 1 << 16;

export interface BatchError extends NetlinkErrorDetail {
  /** Number of the failed message, as the batch numbered it; the number of the batch's begin where the whole was refused. */
  readonly seq: number;
}

export interface BatchAnswer {
  /** Empty: the batch is in force. Otherwise nothing of it is. */
  readonly errors: readonly BatchError[];
  /** Messages that the kernel echoed (NLM_F_ECHO). */
  readonly replies: readonly NetlinkReply[];
}

/**
 * Bound to the network namespace that it was opened in, whatever the thread does afterwards. It is in no group, so that nothing
 * comes to it but answers.
 */
export class NetlinkSocket implements Disposable {
  readonly #datagrams: DatagramSocket;
  #seq = 0;

  /** @throws SyscallError where no socket is to be had. */
  static open(protocol: NetlinkProtocol): NetlinkSocket {
    return new NetlinkSocket(protocol);
  }

  private constructor(protocol: NetlinkProtocol) {
    this.#datagrams = new DatagramSocket(protocol);
  }

  /** The port by which the kernel names the socket in notifications of what it did. */
  get port(): number {
    return this.#datagrams.port;
  }

  [Symbol.dispose](): void {
    this.#datagrams[Symbol.dispose]();
  }

  /** Sends all requests at once and gives what became of each; dumps go on their own, in their turn. */
  readonly exchange: Exchange = requests => {
    const answers: NetlinkAnswer[] = [];
    for (let i = 0; i < requests.length; ) {
      if (isDump(requests[i]!)) {
        answers.push(this.#dump(requests[i++]!));
      } else {
        const end = requests.findIndex((request, j) => j > i && isDump(request));
        const run = requests.slice(i, end < 0 ? undefined : end);
        answers.push(...this.#run(run));
        i += run.length;
      }
    }
    return answers;
  };

  /**
   * The replies of each request.
   * @throws NetlinkError the first failure, once all have been sent: requests beside the failed one did take effect.
   */
  request(requests: readonly NetlinkRequest[]): (readonly NetlinkReply[])[] {
    return must(this.exchange(requests));
  }

  /**
   * Sends a finished netfilter batch (NFNL_MSG_BATCH_BEGIN … END, numbered by who built it, without NLM_F_ACK) in one go.
   * No error from the kernel means that it is committed.
   * @throws SyscallError where it could not be sent, OutcomeUnknownError where errors may have been lost
   */
  batch(operation: string, bytes: Uint8Array): BatchAnswer {
    this.#datagrams.send(operation, bytes, countMessages(bytes));
    const errors: BatchError[] = [];
    const replies: NetlinkReply[] = [];
    for (
      let messages = this.#datagrams.receive(operation, this.#seq);
      messages;
      messages = this.#datagrams.receive(operation, this.#seq)
    ) {
      for (const message of messages) {
        if (message.type === NLMSG.ERROR) {
          const complaint = complaintOf(message);
          if (complaint.errno !== 0) errors.push({ seq: message.seq, ...complaint });
        } else {
          replies.push(replyOf(message));
        }
      }
    }
    return { errors, replies };
  }

  /**
   * Sends requests that hold their caller for long from a thread of Node's pool; resolves when the kernel has done with them.
   * The caller is not told which of them the kernel refused. The socket's network namespace counts, not the thread's.
   * @throws SyscallError where they could not be sent
   */
  async sendInThreadPool(requests: readonly NetlinkRequest[]): Promise<void> {
    await this.#datagrams.sendInThreadPool(
      summaryOf(requests),
      Buffer.concat(requests.flatMap(request => this.#format(request, 0))),
    );
  }

  /**
   * Does what `exchange` does from a thread of Node's pool, while this one has something else to do. Takes no dumps; until it
   * resolves the caller must ask nothing else of this socket.
   */
  async exchangeInThreadPool(requests: readonly NetlinkRequest[]): Promise<readonly NetlinkAnswer[]> {
    if (requests.length === 0) return [];
    const run = this.#compose(requests);
    this.#datagrams.refuseClosed(run.summary);
    this.#datagrams.makeRoom(run.bytes, requests.length);
    await this.#datagrams.sendInThreadPool(run.summary, run.bytes);
    this.#datagrams.refuseClosed(run.summary);
    return this.#collect(run);
  }

  #run(requests: readonly NetlinkRequest[]): NetlinkAnswer[] {
    const run = this.#compose(requests);
    this.#datagrams.send(run.summary, run.bytes, requests.length);
    return this.#collect(run);
  }

  /** The kernel takes requests in their order and complains of each that fails, so the last one's acknowledgement is all's. */
  #compose(requests: readonly NetlinkRequest[]): Run {
    const first = this.#seq + 1;
    const parts = requests.flatMap((request, i) => this.#format(request, i === requests.length - 1 ? NLM_F.ACK : 0));
    return { requests, first, summary: summaryOf(requests), bytes: Buffer.concat(parts) };
  }

  #collect({ requests, first, summary }: Run): NetlinkAnswer[] {
    const last = requests.length - 1;
    const replies: NetlinkReply[][] = requests.map(() => []);
    const complaints: (NetlinkErrorDetail | undefined)[] = requests.map(() => undefined);
    // Replies to a request come before its acknowledgement.
    while (!complaints[last]) {
      const messages = this.#datagrams.receive(summary, this.#seq);
      if (!messages) break;
      for (const message of messages) {
        const i = message.seq - first;
        if (i < 0 || i > last) continue;
        if (message.type === NLMSG.ERROR) complaints[i] = complaintOf(message);
        else replies[i]!.push(replyOf(message));
      }
    }
    return requests.map(({ operation }, i) => {
      if (!complaints[last]) return { replies: replies[i]!, error: silence(operation, first + i) };
      const complaint = complaints[i];
      if (!complaint || complaint.errno === 0) return { replies: replies[i]! };
      return new Refused(replies[i]!, complaint.errno, () => new NetlinkError(operation, first + i, complaint));
    });
  }

  /** A whole dump, taken again for as long as changes underway make it inconsistent. */
  #dump(request: NetlinkRequest): NetlinkAnswer {
    for (let attempt = 0; attempt < DUMP_ATTEMPTS; attempt++) {
      const answer = this.#dumpOnce(request);
      if (answer) return answer;
    }
    const complaint = { errno: EINTR, kernelText: `changed during each of ${DUMP_ATTEMPTS} attempts` };
    return { replies: [], error: new NetlinkError(request.operation, this.#seq, complaint) };
  }

  /** Undefined where the dump was interrupted. */
  #dumpOnce(request: NetlinkRequest): NetlinkAnswer | undefined {
    const replies: NetlinkReply[] = [];
    let interrupted = false;
    let end: Message | undefined;
    this.#datagrams.send(request.operation, Buffer.concat(this.#format(request, 0)), 1);
    // Only a dump's datagrams may be larger than those of before: the kernel makes room for what one link may say.
    const next = () => this.#datagrams.receive(request.operation, this.#seq, MSG.PEEK);
    for (let messages = next(); messages; messages = end ? undefined : next()) {
      for (const message of messages) {
        if (message.seq !== this.#seq) continue;
        if (message.flags & NLM_F.DUMP_INTR) interrupted = true;
        if (message.type === NLMSG.DONE || message.type === NLMSG.ERROR) end = message;
        else replies.push(replyOf(message));
      }
    }
    const complaint = end ? complaintOf(end) : { errno: ENOMSG, kernelText: 'the dump has no end' };
    if (interrupted || complaint.errno === EINTR) return undefined;
    if (complaint.errno === 0) return { replies };
    return { replies, error: new NetlinkError(request.operation, this.#seq, complaint) };
  }

  /**
   * The replies of a dump, a datagram at a time, for what is too much to hold at once. The process may do other work in between,
   * but ask nothing else of this socket until the dump has ended; it is not told of changes underway.
   * @throws NetlinkError the kernel refused, or broke off
   */
  *dump(request: NetlinkRequest): Generator<readonly NetlinkReply[]> {
    const { operation } = request;
    this.#datagrams.send(operation, Buffer.concat(this.#format(request, 0)), 1);
    const seq = this.#seq;
    for (let isEnd = false; !isEnd; ) {
      this.#datagrams.refuseClosed(operation);
      const part = dumpPart(operation, seq, this.#datagrams.receive(operation, seq, MSG.PEEK));
      yield part.replies;
      isEnd = part.isEnd;
    }
  }

  /**
   * Does what `dump` does from threads of the pool: the kernel may look far for each datagram, and wait for locks before the
   * first.
   */
  async *dumpInThreadPool(request: NetlinkRequest): AsyncGenerator<readonly NetlinkReply[], void> {
    const { operation } = request;
    const bytes = Buffer.concat(this.#format(request, 0));
    const seq = this.#seq;
    const space = Buffer.allocUnsafe(LARGEST_PART);
    await this.#datagrams.sendInThreadPool(operation, bytes);
    for (let isEnd = false; !isEnd; ) {
      const part = dumpPart(operation, seq, await this.#datagrams.receiveInThreadPool(operation, space));
      yield part.replies;
      isEnd = part.isEnd;
    }
  }

  #format(request: NetlinkRequest, flags: number): Uint8Array[] {
    const { type, body } = request;
    const header = formatHeader(type, request.flags | flags | NLM_F.REQUEST, ++this.#seq, body.length);
    return [header, body, new Uint8Array(align(body.length) - body.length)];
  }
}

/** A datagram's part in a dump. @throws NetlinkError the kernel refused, or broke off */
function dumpPart(operation: string, seq: number, messages: readonly Message[] | undefined) {
  if (!messages) throw new NetlinkError(operation, seq, { errno: ENOMSG, kernelText: 'the dump has no end' });
  const own = messages.filter(message => message.seq === seq);
  const end = own.find(isEnd);
  const complaint = end && complaintOf(end);
  if (complaint && complaint.errno !== 0) throw new NetlinkError(operation, seq, complaint);
  return { replies: own.filter(message => !isEnd(message)).map(replyOf), isEnd: end !== undefined };
}

const isEnd = ({ type }: Message): boolean => type === NLMSG.DONE || type === NLMSG.ERROR;

/** Requests on their way. */
interface Run {
  readonly requests: readonly NetlinkRequest[];
  /** The number of the first one. */
  readonly first: number;
  /** Names the requests in an error that concerns all of them. */
  readonly summary: string;
  readonly bytes: Uint8Array;
}

const summaryOf = (requests: readonly NetlinkRequest[]): string =>
  requests.length === 1 ? requests[0]!.operation : `send ${requests.length} netlink requests`;

const silence = (operation: string, seq: number) =>
  new OutcomeUnknownError(operation, seq, ENOMSG, 'the kernel did not answer');

const isDump = (request: NetlinkRequest) => (request.flags & NLM_F.DUMP) === NLM_F.DUMP;

const replyOf = ({ type, flags, body }: Message): NetlinkReply => ({ type, flags, body });
