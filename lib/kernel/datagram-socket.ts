/**
 * Netlink sockets as whole datagrams: sent and received without waiting, or by a thread of Node's pool, in buffers that are made
 * large enough beforehand. What the datagrams say is `NetlinkSocket`'s.
 */
import { closeSync, read, write } from 'node:fs';
import { type Message, parseMessages } from '../netlink/header.ts';
import { errnos } from './errno.ts';
import { checked, libc, SyscallError } from './ffi.ts';
import { OutcomeUnknownError } from './message.ts';
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
const { EAGAIN, EINTR, EMSGSIZE, ENOBUFS, EPERM } = errnos;

/** Bytes that one acknowledgement takes of a receive buffer, by the kernel's counting (skb and all), on the safe side. */
const ANSWER_SIZE = 2048;
const LEAST_BUFFER = 1 << 20;
/** Requests whose acknowledgements find room in the least of buffers, beside messages that the kernel sends unasked. */
const FEW = 64;
const LEAST_SEND = 1 << 16;
const GREATEST_BUFFER = 1 << 29;
/** Receive buffer of all sockets of this thread: each datagram is copied out of it before another socket can receive. */
let datagram = Buffer.alloc(65_536);

/** A socket of the network namespace that it was opened in. It is in no group, so that it receives answers only. */
export class DatagramSocket implements Disposable {
  readonly #fd: number;
  #sendBuffer = 0;
  #receiveBuffer = 0;
  #closed = false;
  /** System calls that threads of the pool are making: until they end the descriptor must stay this socket's. */
  #underWay = 0;

  /** @throws SyscallError where no socket is to be had */
  constructor(protocol: NetlinkProtocol) {
    const fd = openSocket(protocol);
    this.#fd = fd;
    try {
      setOption('ask for extended netlink errors', fd, SOL_NETLINK, NETLINK_EXT_ACK, 1);
      setOption('ask for short netlink errors', fd, SOL_NETLINK, NETLINK_CAP_ACK, 1);
      // Without this option the kernel ignores the filter of a dump of addresses or routes.
      if (protocol === 'route') setOption('ask for checked dumps', fd, SOL_NETLINK, NETLINK_GET_STRICT_CHK, 1);
    } catch (error) {
      closeSync(fd);
      throw error;
    }
  }

  /** The port by which the kernel names the socket in notifications of what it did. */
  get port(): number {
    this.refuseClosed('tell the port of a socket');
    if (portOf(this.#fd) === 0) bindToAnyPort(this.#fd);
    return portOf(this.#fd)!;
  }

  [Symbol.dispose](): void {
    if (this.#closed) return;
    this.#closed = true;
    if (this.#underWay === 0) closeSync(this.#fd);
  }

  /** @throws Error */
  refuseClosed(operation: string): void {
    // The number of the descriptor may be that of something else by now.
    if (this.#closed) throw new Error(`Cannot ${operation}: the netlink socket is closed`);
  }

  /** Resolves when the kernel has done what the bytes ask for. @throws SyscallError where they could not be sent */
  async sendInThreadPool(operation: string, bytes: Uint8Array): Promise<void> {
    await this.#inThreadPool(operation, done => write(this.#fd, bytes, done));
  }

  /** The messages of the next datagram; undefined where the queue is empty. @param space  as large as it may be */
  async receiveInThreadPool(operation: string, space: Buffer): Promise<readonly Message[] | undefined> {
    try {
      const length = await this.#inThreadPool(operation, done => read(this.#fd, space, 0, space.length, null, done));
      return parseMessages(Buffer.from(space.subarray(0, length)));
    } catch (error) {
      if (error instanceof SyscallError && error.errno === EAGAIN) return undefined;
      throw error;
    }
  }

  /** Has a thread of the pool do it. @returns the number that the system call gave */
  async #inThreadPool(operation: string, call: (done: SystemCallDone) => void): Promise<number> {
    this.refuseClosed(operation);
    this.#underWay++;
    try {
      return await new Promise<number>((resolve, reject) => {
        call((error, result) => (error ? reject(new SyscallError(operation, -error.errno!)) : resolve(result)));
      });
    } finally {
      if (--this.#underWay === 0 && this.#closed) closeSync(this.#fd);
    }
  }

  /** Enlarges the socket's buffers for a send, and for the answers to this many messages. */
  makeRoom(bytes: Uint8Array, messages: number): void {
    this.#reserve(2 * bytes.length + LEAST_SEND, LEAST_BUFFER + (messages < FEW ? 0 : messages * ANSWER_SIZE));
  }

  /** @throws SyscallError where they could not be sent */
  send(operation: string, bytes: Uint8Array, messages: number): void {
    this.refuseClosed(operation);
    this.makeRoom(bytes, messages);
    const sent = checked(operation, libc().send(this.#fd, bytes, BigInt(bytes.length), MSG.DONTWAIT));
    if (sent !== bytes.length) throw new SyscallError(operation, EMSGSIZE);
  }

  /**
   * The messages of the next datagram; undefined where the queue is empty.
   * @param seq number of the request that is answered, for an error
   * @param look MSG.PEEK: first how large it is
   * @throws OutcomeUnknownError answers were lost
   */
  receive(operation: string, seq: number, look = 0): readonly Message[] | undefined {
    const { recv, errno } = libc();
    const take = (flags: number) =>
      Number(recv(this.#fd, datagram, BigInt(datagram.length), MSG.DONTWAIT | MSG.TRUNC | flags));
    for (;;) {
      let size = take(look);
      if (size > datagram.length) {
        if (!look) throw this.#loss(operation, seq, EMSGSIZE);
        datagram = Buffer.alloc(size);
      }
      if (size >= 0 && look) size = take(0);
      if (size >= 0) return parseMessages(Buffer.from(datagram.subarray(0, size)));
      const reason = errno();
      if (reason === EAGAIN) return undefined;
      if (reason !== EINTR) throw this.#loss(operation, seq, reason);
    }
  }

  /** Empties the queue, so that the next exchange does not read the answers of this one. */
  #loss(operation: string, seq: number, errno: number): OutcomeUnknownError {
    const { recv } = libc();
    while (recv(this.#fd, datagram, BigInt(datagram.length), MSG.DONTWAIT) >= 0n);
    const text = errno === ENOBUFS ? 'answers were lost for want of buffer' : 'answers could not be received';
    return new OutcomeUnknownError(operation, seq, errno, text);
  }

  /** Makes room for a send and for its answers. */
  #reserve(send: number, receive: number): void {
    if (send > this.#sendBuffer) this.#sendBuffer = this.#grow(SO.SNDBUFFORCE, SO.SNDBUF, send);
    if (receive > this.#receiveBuffer) this.#receiveBuffer = this.#grow(SO.RCVBUFFORCE, SO.RCVBUF, receive);
  }

  /** Falls back to the node's own limit (net.core.rmem_max, wmem_max) in a user namespace, where force is not allowed. */
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
