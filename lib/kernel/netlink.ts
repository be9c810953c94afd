/**
 * Netlink without waiting. The package `netlink` hands over what comes as the event loop turns; but the kernel has answered by
 * the time that send() returns, so send() and recv() on the same descriptor are a whole exchange, and nothing else of this
 * process can come between. The package's part in it are the messages; what comes by itself is for `Subscription`.
 */
import { closeSync, read, write } from 'node:fs';
import { align, countMessages, formatHeader, type Message, NLM_F, NLMSG, parseMessages } from '../netlink/header.ts';
import { errnos } from './errno.ts';
import { checked, libc, SyscallError } from './ffi.ts';
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
import {
  bindToAnyPort,
  MSG,
  type NetlinkProtocol,
  openSocket,
  portOf,
  SO,
  SOL_NETLINK,
  SOL_SOCKET,
  setOption,
} from './socket.ts';

const NETLINK_CAP_ACK = 10;
const NETLINK_EXT_ACK = 11;
const NETLINK_GET_STRICT_CHK = 12;
const { EAGAIN, EINTR, EMSGSIZE, ENOBUFS, ENOMSG, EPERM } = errnos;

/** Bytes that one acknowledgement takes of a receive buffer, by the kernel's counting (skb and all), on the safe side. */
const ANSWER_SIZE = 2048;
const LEAST_BUFFER = 1 << 20;
/** The acknowledgements of so many find room in the least of buffers, with what the kernel says of its own accord. */
const FEW = 64;
const LEAST_SEND = 1 << 16;
const GREATEST_BUFFER = 1 << 29;
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

/** Receive buffer of all sockets of this thread: each datagram is copied out of it before another socket can receive. */
let datagram = Buffer.alloc(65_536);

/**
 * Bound to the network namespace that it was opened in, whatever the thread does afterwards. It is in no group, so that nothing
 * comes to it but answers.
 */
export class NetlinkSocket implements Disposable {
  readonly #fd: number;
  #sendBuffer = 0;
  #receiveBuffer = 0;
  #seq = 0;
  #closed = false;
  /** System calls by threads of the pool: none may find the descriptor to be something else's. */
  #underWay = 0;

  /** @throws SyscallError where no socket is to be had. */
  static open(protocol: NetlinkProtocol): NetlinkSocket {
    return new NetlinkSocket(protocol);
  }

  private constructor(protocol: NetlinkProtocol) {
    const fd = openSocket(protocol);
    this.#fd = fd;
    try {
      setOption('ask for extended netlink errors', fd, SOL_NETLINK, NETLINK_EXT_ACK, 1);
      setOption('ask for short netlink errors', fd, SOL_NETLINK, NETLINK_CAP_ACK, 1);
      // Without it the kernel ignores what a dump of addresses or routes is narrowed down to.
      if (protocol === 'route') setOption('ask for checked dumps', fd, SOL_NETLINK, NETLINK_GET_STRICT_CHK, 1);
    } catch (error) {
      closeSync(fd);
      throw error;
    }
  }

  /** By which the kernel calls it, in notifications of what it did. */
  get port(): number {
    this.#refuseClosed('tell the port of a socket');
    if (portOf(this.#fd) === 0) bindToAnyPort(this.#fd);
    return portOf(this.#fd)!;
  }

  [Symbol.dispose](): void {
    if (this.#closed) return;
    this.#closed = true;
    if (this.#underWay === 0) closeSync(this.#fd);
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
    this.#send(operation, bytes, countMessages(bytes));
    const errors: BatchError[] = [];
    const replies: NetlinkReply[] = [];
    for (let messages = this.#receive(operation); messages; messages = this.#receive(operation)) {
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
    await this.#sendAside(summaryOf(requests), Buffer.concat(requests.flatMap(request => this.#format(request, 0))));
  }

  /**
   * As `exchange`, but from a thread of Node's pool, while this one has something else to do. No dumps; and nothing else is to
   * be asked of this socket until it resolves.
   */
  async exchangeInThreadPool(requests: readonly NetlinkRequest[]): Promise<readonly NetlinkAnswer[]> {
    if (requests.length === 0) return [];
    const run = this.#compose(requests);
    this.#refuseClosed(run.summary);
    this.#makeRoom(run.bytes, requests.length);
    await this.#sendAside(run.summary, run.bytes);
    this.#refuseClosed(run.summary);
    return this.#collect(run);
  }

  #run(requests: readonly NetlinkRequest[]): NetlinkAnswer[] {
    const run = this.#compose(requests);
    this.#send(run.summary, run.bytes, requests.length);
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
      const messages = this.#receive(summary);
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
    this.#send(request.operation, Buffer.concat(this.#format(request, 0)), 1);
    // Only a dump's datagrams may be larger than those of before: the kernel makes room for what one link may say.
    const next = () => this.#receive(request.operation, MSG.PEEK);
    for (let messages = next(); messages; messages = next()) {
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
   * The replies of a dump, a datagram at a time, for what is too much to hold at once. Others may have their turn in
   * between; until it has ended nothing else is to be asked of this socket, and changes underway are not told.
   * @throws NetlinkError the kernel refused, or broke off
   */
  *dump(request: NetlinkRequest): Generator<readonly NetlinkReply[]> {
    const { operation } = request;
    this.#send(operation, Buffer.concat(this.#format(request, 0)), 1);
    const seq = this.#seq;
    for (let isEnd = false; !isEnd; ) {
      this.#refuseClosed(operation);
      const part = dumpPart(operation, seq, this.#receive(operation, MSG.PEEK));
      yield part.replies;
      isEnd = part.isEnd;
    }
  }

  /** As `dump`, from threads of the pool: the kernel may look far for each datagram, and wait for others before the first. */
  async *dumpInThreadPool(request: NetlinkRequest): AsyncGenerator<readonly NetlinkReply[], void> {
    const { operation } = request;
    const bytes = Buffer.concat(this.#format(request, 0));
    const seq = this.#seq;
    const space = Buffer.allocUnsafe(LARGEST_PART);
    await this.#sendAside(operation, bytes);
    for (let isEnd = false; !isEnd; ) {
      const part = dumpPart(operation, seq, await this.#receiveAside(operation, space));
      yield part.replies;
      isEnd = part.isEnd;
    }
  }

  #format(request: NetlinkRequest, flags: number): Uint8Array[] {
    const { type, body } = request;
    const header = formatHeader(type, request.flags | flags | NLM_F.REQUEST, ++this.#seq, body.length);
    return [header, body, new Uint8Array(align(body.length) - body.length)];
  }

  #refuseClosed(operation: string): void {
    // The number of the descriptor may be that of something else by now.
    if (this.#closed) throw new Error(`Cannot ${operation}: the netlink socket is closed`);
  }

  async #sendAside(operation: string, bytes: Uint8Array): Promise<void> {
    await this.#aside(operation, done => write(this.#fd, bytes, done));
  }

  /** The messages of the next datagram, or undefined where the queue is empty. */
  async #receiveAside(operation: string, space: Buffer): Promise<readonly Message[] | undefined> {
    try {
      const length = await this.#aside(operation, done => read(this.#fd, space, 0, space.length, null, done));
      return parseMessages(Buffer.from(space.subarray(0, length)));
    } catch (error) {
      if (error instanceof SyscallError && error.errno === EAGAIN) return undefined;
      throw error;
    }
  }

  /** Has a thread of the pool do it. @returns the number that the system call gave */
  async #aside(operation: string, call: (done: SystemCallDone) => void): Promise<number> {
    this.#refuseClosed(operation);
    this.#underWay++;
    try {
      return await new Promise<number>((resolve, reject) => {
        call((error, result) => (error ? reject(new SyscallError(operation, -error.errno!)) : resolve(result)));
      });
    } finally {
      if (--this.#underWay === 0 && this.#closed) closeSync(this.#fd);
    }
  }

  #makeRoom(bytes: Uint8Array, messages: number): void {
    this.#reserve(2 * bytes.length + LEAST_SEND, LEAST_BUFFER + (messages < FEW ? 0 : messages * ANSWER_SIZE));
  }

  #send(operation: string, bytes: Uint8Array, messages: number): void {
    this.#refuseClosed(operation);
    this.#makeRoom(bytes, messages);
    const sent = checked(operation, libc().send(this.#fd, bytes, BigInt(bytes.length), MSG.DONTWAIT));
    if (sent !== bytes.length) throw new SyscallError(operation, EMSGSIZE);
  }

  /**
   * The messages of the next datagram, or undefined where the queue is empty.
   * @param look MSG.PEEK: first how large it is
   */
  #receive(operation: string, look = 0): readonly Message[] | undefined {
    const { recv, errno } = libc();
    const take = (flags: number) =>
      Number(recv(this.#fd, datagram, BigInt(datagram.length), MSG.DONTWAIT | MSG.TRUNC | flags));
    for (;;) {
      let size = take(look);
      if (size > datagram.length) {
        if (!look) throw this.#loss(operation, EMSGSIZE);
        datagram = Buffer.alloc(size);
      }
      if (size >= 0 && look) size = take(0);
      if (size >= 0) return parseMessages(Buffer.from(datagram.subarray(0, size)));
      const reason = errno();
      if (reason === EAGAIN) return undefined;
      if (reason !== EINTR) throw this.#loss(operation, reason);
    }
  }

  /** Empties the queue, so that the next exchange does not read the answers of this one. */
  #loss(operation: string, errno: number): OutcomeUnknownError {
    const { recv } = libc();
    while (recv(this.#fd, datagram, BigInt(datagram.length), MSG.DONTWAIT) >= 0n);
    const text = errno === ENOBUFS ? 'answers were lost for want of buffer' : 'answers could not be received';
    return new OutcomeUnknownError(operation, this.#seq, errno, text);
  }

  /** Makes room for a send and for its answers. */
  #reserve(send: number, receive: number): void {
    if (send > this.#sendBuffer) this.#sendBuffer = this.#grow(SO.SNDBUFFORCE, SO.SNDBUF, send);
    if (receive > this.#receiveBuffer) this.#receiveBuffer = this.#grow(SO.RCVBUFFORCE, SO.RCVBUF, receive);
  }

  /** In a user namespace no force is allowed; then the node's own limit (net.core.rmem_max, wmem_max) must do. */
  #grow(force: number, ask: number, size: number): number {
    const grow = (option: number) =>
      setOption('grow a netlink buffer', this.#fd, SOL_SOCKET, option, Math.min(size, GREATEST_BUFFER));
    try {
      grow(force);
    } catch (error) {
      if (!(error instanceof SyscallError && error.errno === EPERM)) throw error;
      grow(ask);
    }
    return size;
  }
}

type SystemCallDone = (error: NodeJS.ErrnoException | null, result: number) => void;

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
  /** For an error that concerns them all. */
  readonly summary: string;
  readonly bytes: Uint8Array;
}

const summaryOf = (requests: readonly NetlinkRequest[]): string =>
  requests.length === 1 ? requests[0]!.operation : `send ${requests.length} netlink requests`;

const silence = (operation: string, seq: number) =>
  new OutcomeUnknownError(operation, seq, ENOMSG, 'the kernel did not answer');

const isDump = (request: NetlinkRequest) => (request.flags & NLM_F.DUMP) === NLM_F.DUMP;

const replyOf = ({ type, flags, body }: Message): NetlinkReply => ({ type, flags, body });
