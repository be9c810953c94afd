/** One connection, frame by frame: what both ends of the agent's socket have in common. */
import type { Socket } from 'node:net';
import { encodeFrame, type Frame, FrameReader, type Kind, ProtocolError } from './protocol.ts';

/** The other end is gone, did not answer in time, or does not speak our protocol: nothing more will come. */
export class ConversationError extends Error {
  override readonly name = 'ConversationError';
}

/** Node keeps the descriptor of a socket to itself; -1 where it is closed. */
export function descriptorOf(socket: Socket): number {
  const { _handle: handle } = socket as unknown as { readonly _handle?: { readonly fd?: unknown } | null };
  return typeof handle?.fd === 'number' ? handle.fd : -1;
}

/** Bytes that are kept unread: a peer that sends more than it was asked for must not fill our memory. */
const MOST_WAITING = 2;

export class Conversation implements Disposable {
  readonly #socket: Socket;
  readonly #reader = new FrameReader();
  readonly #frames: Frame[] = [];
  readonly #hungUp = new AbortController();
  #wake: (() => void) | undefined;
  #end: Error | undefined;
  /** Whether the last frame was sent, after which the other end may go. */
  #isFinished = false;

  constructor(socket: Socket) {
    this.#socket = socket;
    socket
      .on('data', (piece: Buffer) => this.#read(piece))
      .on('error', error => this.#stop(new ConversationError(error.message)))
      .on('end', () => this.hangUp())
      .on('close', () => this.hangUp());
  }

  /** Aborted when the other end hangs up, or breaks the protocol. */
  get hungUp(): AbortSignal {
    return this.#hungUp.signal;
  }

  #read(piece: Uint8Array): void {
    if (this.#end) return;
    try {
      for (const frame of this.#reader.push(piece)) {
        // Only the last place in the queue is news.
        if (frame.kind === 'queued' && this.#frames.at(-1)?.kind === 'queued') this.#frames.pop();
        this.#frames.push(frame);
      }
      if (this.#frames.length > MOST_WAITING) throw new ProtocolError('Cannot keep more frames than were asked for');
      this.#wake?.();
    } catch (error) {
      this.#stop(error instanceof Error ? error : new Error(String(error)));
      this.#socket.destroy();
    }
  }

  /** Ends the conversation as if its socket had closed: for a caller that has seen the close before the event loop. */
  hangUp(): void {
    if (!this.#isFinished) this.#stop(new ConversationError('it hung up'));
  }

  #stop(why: Error): void {
    if (this.#end) return;
    this.#end = why;
    this.#hungUp.abort(why);
    this.#wake?.();
  }

  send(kind: Kind, body?: Uint8Array): void {
    this.sendFrame(encodeFrame(kind, body));
  }

  /** Sends an encoded frame: encoding it beforehand shows its errors before there is a connection. */
  sendFrame(frame: Uint8Array): void {
    this.#socket.write(frame);
  }

  /**
   * The next frame, which must be of one of these kinds.
   * @param timeout in milliseconds, for the whole frame
   * @throws ConversationError, ProtocolError
   */
  async receive(wanted: readonly Kind[], timeout: number): Promise<Frame> {
    const frame = await this.await(wanted, timeout);
    if (frame) return frame;
    throw new ConversationError(`no ${wanted.join(' or ')} came within ${timeout} ms`);
  }

  /** Waits as `receive` does; undefined where no frame came in time, and one may still come. */
  async await(wanted: readonly Kind[], timeout: number): Promise<Frame | undefined> {
    const end = performance.now() + timeout;
    for (;;) {
      const frame = this.#frames.shift();
      if (frame && wanted.includes(frame.kind)) return frame;
      if (frame) throw new ProtocolError(`Cannot take a ${frame.kind} for ${wanted.join(' or ')}`);
      if (this.#end) throw this.#end;
      const left = end - performance.now();
      if (left <= 0) return undefined;
      await this.#news(left);
    }
  }

  #news(timeout: number): Promise<void> {
    return new Promise(resolve => {
      const wake = (): void => {
        clearTimeout(timer);
        if (this.#wake === wake) this.#wake = undefined;
        resolve();
      };
      // Timers fire before connections are read: after a long computation, what is late may lie there already.
      const timer = setTimeout(() => setImmediate(wake), timeout);
      this.#wake = wake;
    });
  }

  /** Sends the last frame. Resolves when the kernel has taken it over, or the timeout (ms) has passed. */
  async finish(kind: Kind, body: Uint8Array, timeout: number): Promise<void> {
    this.#isFinished = true;
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, timeout);
    this.#socket.once('close', resolve).end(encodeFrame(kind, body), resolve);
    await promise;
    clearTimeout(timer);
    // What was written to a Unix socket is read although the socket is destroyed.
    this[Symbol.dispose]();
  }

  [Symbol.dispose](): void {
    this.#socket.destroy();
  }
}
