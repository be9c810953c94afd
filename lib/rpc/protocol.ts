/**
 * How a CNI call travels over the agent's socket (ARCHITECTURE.md, idea 3): a call is environment and stdin in, stdout, exit
 * code and lines for stderr out, and these frames hold exactly that. No I/O here; a launcher in C must be able to speak it
 * too, so all numbers are big-endian and of fixed width, and the environment is laid out as in execve(2).
 *
 * One connection is one call: REQUEST → QUEUED (again and again, where it must wait for its turn) → READY (nothing has been done
 * yet) → GO → ANSWER; or REQUEST → NOT_MINE.
 */
import type { Role } from '../cni/request.ts';
import type { NetnsIdentity } from '../kernel/netns.ts';

/** "tg", then the version: a peer of another version is refused before its frame is read. */
const MAGIC = 0x746701;
const HEADER = 8;
/** Bytes of a body. The greatest stdin known is a prevResult with a few hundred routes. */
export const GREATEST_BODY = 4 << 20;

const kinds = { request: 1, ready: 2, notMine: 3, go: 4, answer: 5, queued: 6 } as const;
export type Kind = keyof typeof kinds;

export interface Frame {
  readonly kind: Kind;
  readonly body: Uint8Array;
}

export interface CallRequest {
  readonly role: Role;
  /** The caller's network namespace. */
  readonly netns: NetnsIdentity;
  readonly env: Readonly<Record<string, string>>;
  readonly stdin: string;
}

export interface CallAnswer {
  readonly stdout: string;
  readonly exitCode: 0 | 1;
  /** Lines for stderr, each without its newline. */
  readonly lines: readonly string[];
}

/** The peer does not speak the protocol, or speaks another version of it. */
export class ProtocolError extends Error {
  override readonly name = 'ProtocolError';
}

const encoder = new TextEncoder();
// A byte order mark is part of the caller's text.
const decoder = new TextDecoder('utf-8', { ignoreBOM: true });
const viewOf = ({ buffer, byteOffset, byteLength }: Uint8Array): DataView =>
  new DataView(buffer, byteOffset, byteLength);

/** @throws ProtocolError where the body is longer than either end reads */
export function encodeFrame(kind: Kind, body: Uint8Array = new Uint8Array()): Uint8Array {
  if (body.length > GREATEST_BODY)
    throw new ProtocolError(`Cannot send ${body.length} bytes in one ${kind}: at most ${GREATEST_BODY}`);
  const bytes = new Uint8Array(HEADER + body.length);
  const view = viewOf(bytes);
  view.setUint32(0, ((MAGIC << 8) | kinds[kind]) >>> 0);
  view.setUint32(4, body.length);
  bytes.set(body, HEADER);
  return bytes;
}

function parseHeader(bytes: Uint8Array): { readonly kind: Kind; readonly length: number } {
  const view = viewOf(bytes);
  const head = view.getUint32(0);
  const kind = (Object.keys(kinds) as Kind[]).find(name => kinds[name] === (head & 0xff));
  if (head >>> 8 !== MAGIC || kind === undefined)
    throw new ProtocolError(`Cannot read a frame that starts with 0x${head.toString(16).padStart(8, '0')}`);
  const length = view.getUint32(4);
  if (length > GREATEST_BODY)
    throw new ProtocolError(`Cannot read a ${kind} of ${length} bytes: at most ${GREATEST_BODY}`);
  return { kind, length };
}

/** Frames from a stream that comes in pieces of any size; holds no more than one frame's worth. */
export class FrameReader {
  #pieces: Uint8Array[] = [];
  #size = 0;
  /** Bytes to wait for before looking again: a header, or a header with its body. */
  #wanted = HEADER;

  /** @returns the frames that this piece completed. @throws ProtocolError as soon as a header is wrong */
  push(piece: Uint8Array): readonly Frame[] {
    this.#pieces.push(piece);
    this.#size += piece.length;
    const frames: Frame[] = [];
    while (this.#size >= this.#wanted) {
      const bytes = this.#join();
      const { kind, length } = parseHeader(bytes);
      const end = HEADER + length;
      this.#wanted = this.#size >= end ? HEADER : end;
      if (this.#size < end) break;
      frames.push({ kind, body: bytes.slice(HEADER, end) });
      this.#pieces = [bytes.subarray(end)];
      this.#size -= end;
    }
    return frames;
  }

  #join(): Uint8Array {
    if (this.#pieces.length === 1) return this.#pieces[0]!;
    const bytes = new Uint8Array(this.#size);
    let at = 0;
    for (const piece of this.#pieces) {
      bytes.set(piece, at);
      at += piece.length;
    }
    this.#pieces = [bytes];
    return bytes;
  }
}

const roles: readonly Role[] = ['tollgate', 'tollgate-ipam'];
/** st_dev (u64), st_ino (u64), role (u32), length of the environment (u32). */
const REQUEST_HEAD = 24;

/** Head, the environment as `NAME=value\0…`, stdin until the end. */
export function encodeRequest({ role, netns, env, stdin }: CallRequest): Uint8Array {
  const block = encoder.encode(
    Object.entries(env)
      .map(([name, value]) => `${name}=${value}\0`)
      .join(''),
  );
  const input = encoder.encode(stdin);
  const bytes = new Uint8Array(REQUEST_HEAD + block.length + input.length);
  const view = viewOf(bytes);
  view.setBigUint64(0, BigInt(netns.dev));
  view.setBigUint64(8, BigInt(netns.ino));
  view.setUint32(16, roles.indexOf(role));
  view.setUint32(20, block.length);
  bytes.set(block, REQUEST_HEAD);
  bytes.set(input, REQUEST_HEAD + block.length);
  return bytes;
}

function parseEnvironmentBlock(bytes: Uint8Array): Record<string, string> {
  if (bytes.length > 0 && bytes.at(-1) !== 0)
    throw new ProtocolError('Cannot read a request: its environment has no end');
  const env: Record<string, string> = Object.create(null) as Record<string, string>;
  for (const line of decoder.decode(bytes).split('\0').slice(0, -1)) {
    const at = line.indexOf('=', 1);
    if (at < 0) throw new ProtocolError('Cannot read a request: a variable of its environment has no value');
    env[line.slice(0, at)] = line.slice(at + 1);
  }
  return env;
}

/** @throws ProtocolError */
export function decodeRequest(body: Uint8Array): CallRequest {
  if (body.length < REQUEST_HEAD) throw new ProtocolError(`Cannot read a request of ${body.length} bytes`);
  const view = viewOf(body);
  const role = roles[view.getUint32(16)];
  if (role === undefined) throw new ProtocolError(`Cannot serve role ${view.getUint32(16)}`);
  const end = REQUEST_HEAD + view.getUint32(20);
  if (end > body.length) throw new ProtocolError('Cannot read a request: its environment is cut short');
  return {
    role,
    netns: { dev: Number(view.getBigUint64(0)), ino: Number(view.getBigUint64(8)) },
    env: parseEnvironmentBlock(body.subarray(REQUEST_HEAD, end)),
    stdin: decoder.decode(body.subarray(end)),
  };
}

/** Exit code (u32), length of stdout (u32). */
const ANSWER_HEAD = 8;

/** Head, stdout, then the lines for stderr, each with its newline. */
export function encodeAnswer({ stdout, exitCode, lines }: CallAnswer): Uint8Array {
  const out = encoder.encode(stdout);
  const err = encoder.encode(lines.map(line => `${line}\n`).join(''));
  const bytes = new Uint8Array(ANSWER_HEAD + out.length + err.length);
  const view = viewOf(bytes);
  view.setUint32(0, exitCode);
  view.setUint32(4, out.length);
  bytes.set(out, ANSWER_HEAD);
  bytes.set(err, ANSWER_HEAD + out.length);
  return bytes;
}

/** @throws ProtocolError */
export function decodeAnswer(body: Uint8Array): CallAnswer {
  if (body.length < ANSWER_HEAD) throw new ProtocolError(`Cannot read an answer of ${body.length} bytes`);
  const view = viewOf(body);
  const exitCode = view.getUint32(0);
  const end = ANSWER_HEAD + view.getUint32(4);
  if ((exitCode !== 0 && exitCode !== 1) || end > body.length)
    throw new ProtocolError(`Cannot read an answer with exit code ${exitCode} and ${body.length} bytes`);
  const lines = decoder.decode(body.subarray(end)).split('\n').slice(0, -1);
  return { stdout: decoder.decode(body.subarray(ANSWER_HEAD, end)), exitCode, lines };
}

function encodeNumber(number: number): Uint8Array {
  const bytes = new Uint8Array(4);
  viewOf(bytes).setUint32(0, number);
  return bytes;
}

/** Milliseconds (u32) that an answer may take, in READY: a caller that cannot read the config waits for as long. */
export const encodeTimeout = encodeNumber;

/** The call's place in the queue (u32), of which the first is 1, in QUEUED. */
export const encodePlace = encodeNumber;
/** @throws ProtocolError */
export function decodePlace(body: Uint8Array): number {
  if (body.length < 4) throw new ProtocolError(`Cannot read a place in the queue of ${body.length} bytes`);
  return viewOf(body).getUint32(0);
}

/** Why a worker does not take the call: for a log. */
export const encodeReason = (why: string): Uint8Array => encoder.encode(why);
export const decodeReason = (body: Uint8Array): string => decoder.decode(body);
