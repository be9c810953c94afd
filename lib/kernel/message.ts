/**
 * Netlink requests and answers as values, and the function between them: what builds requests and reads replies needs
 * no socket, and what stands in for the kernel in a test is one function.
 */
import { align, type Message, NLM_F, NLMSG, readS32, readU32 } from '../netlink/header.ts';
import { AttributeReader } from '../netlink/reader.ts';
import { errnos } from './errno.ts';
import { describeErrno, errnoName } from './ffi.ts';

/** enum nlmsgerr_attrs */
const NLMSGERR_ATTR = { MSG: 1, OFFS: 2 } as const;
const errorNames = { prefix: 'NLMSGERR_ATTR', types: NLMSGERR_ATTR };

export interface NetlinkRequest {
  /** Finishes the sentence "Cannot …": `add route 10.0.0.7/32 dev 12`. */
  readonly operation: string;
  readonly type: number;
  /** Besides REQUEST and ACK, which the socket sets. With DUMP the request is sent on its own. */
  readonly flags: number;
  /** All behind the netlink header. */
  readonly body: Uint8Array;
}

export interface NetlinkReply {
  readonly type: number;
  readonly flags: number;
  /** Port of the socket that caused the message, where the kernel multicasts it. */
  readonly port?: number;
  readonly body: Uint8Array;
}

export interface NetlinkAnswer {
  readonly replies: readonly NetlinkReply[];
  /** Why the kernel refused the request. */
  readonly error?: NetlinkError;
}

/** The answer to a refused request. Most refusals are expected; an error, with its stack trace, is made only to be thrown. */
export class Refused implements NetlinkAnswer {
  readonly replies: readonly NetlinkReply[];
  readonly code: string;
  readonly #error: () => NetlinkError;

  constructor(replies: readonly NetlinkReply[], errno: number, error: () => NetlinkError) {
    this.replies = replies;
    this.code = errnoName(errno);
    this.#error = error;
  }

  get error(): NetlinkError {
    return this.#error();
  }
}

/** The kernel's code for why it refused, `EEXIST` and the like, at no stack trace's cost; undefined where it did not. */
export const refusalOf = (answer: NetlinkAnswer): string | undefined =>
  answer instanceof Refused ? answer.code : answer.error?.code;

/** The kernel, or what stands in for it: one answer for each request, in order; a failed request does not stop the next. */
export type Exchange = (requests: readonly NetlinkRequest[]) => readonly NetlinkAnswer[];

/** Does what `Exchange` does while the process goes on with other work; takes no dumps. */
export type AsyncExchange = (requests: readonly NetlinkRequest[]) => Promise<readonly NetlinkAnswer[]>;

/** The number of an error message, and the kernel's explanation. */
export interface NetlinkErrorDetail {
  /** Positive; 0 is an acknowledgement. */
  readonly errno: number;
  /** The kernel's own words (extended ack), in English. */
  readonly kernelText?: string;
  /** Byte of the request, from its header on, at which the offending attribute starts. */
  readonly offset?: number;
}

/** A request that the kernel refused. */
export class NetlinkError extends Error {
  override readonly name = 'NetlinkError';
  readonly operation: string;
  readonly errno: number;
  /** `EEXIST` and the like. */
  readonly code: string;
  readonly kernelText: string | undefined;
  readonly offset: number | undefined;
  readonly seq: number;

  constructor(operation: string, seq: number, complaint: NetlinkErrorDetail) {
    const { errno, kernelText, offset } = complaint;
    super(`Cannot ${operation}: ${describeErrno(errno)}${kernelText ? `: ${kernelText}` : ''}`);
    this.operation = operation;
    this.errno = errno;
    this.code = errnoName(errno);
    this.seq = seq;
    this.kernelText = kernelText;
    this.offset = offset;
  }
}

/** The exchange broke down before the kernel's answer came, so the kernel may or may not have carried the request out. */
export class OutcomeUnknownError extends NetlinkError {
  constructor(operation: string, seq: number, errno: number, kernelText: string) {
    super(operation, seq, { errno, kernelText: `${kernelText}; whether it took effect is unknown` });
  }
}

/** True where the error is the kernel's refusal with this code: `isErrno(error, 'ENOENT', 'ENODEV')`. */
export const isErrno = (error: unknown, ...codes: string[]): error is Error & { readonly code: string } =>
  error instanceof Error && 'code' in error && typeof error.code === 'string' && codes.includes(error.code);

/**
 * Reads NLMSG_ERROR (struct nlmsgerr: error, then the request's header, then all of the request unless capped) and
 * NLMSG_DONE (error alone), each with extended-ack attributes behind it where its flags say so.
 * @see include/uapi/linux/netlink.h, enum nlmsgerr_attrs
 */
export function complaintOf({ type, flags, body }: Pick<Message, 'type' | 'flags' | 'body'>): NetlinkErrorDetail {
  const errno = body.length >= 4 ? -readS32(body, 0) : errnos.EBADMSG;
  if (!(flags & NLM_F.ACK_TLVS)) return { errno };
  let start = 4;
  if (type === NLMSG.ERROR) start += flags & NLM_F.CAPPED || errno === 0 ? 16 : align(readU32(body, 4));
  const attributes = new AttributeReader(body.subarray(start), errorNames);
  const kernelText = attributes.text(NLMSGERR_ATTR.MSG);
  const offset = attributes.u32(NLMSGERR_ATTR.OFFS);
  return { errno, ...(kernelText === undefined ? {} : { kernelText }), ...(offset === undefined ? {} : { offset }) };
}

/**
 * The replies of each request, where every one of them succeeded.
 * @throws NetlinkError the first failure, once all have been sent: requests beside the failed one did take effect.
 */
export function must(answers: readonly NetlinkAnswer[]): (readonly NetlinkReply[])[] {
  return answers.map(answer => {
    const { error } = answer;
    if (error) throw error;
    return answer.replies;
  });
}

/** As `must`, but a failure with one of these codes counts as an answer without replies. */
export function mustExcept(answers: readonly NetlinkAnswer[], ...codes: string[]): (readonly NetlinkReply[])[] {
  return must(answers.map(answer => (codes.includes(refusalOf(answer) ?? '') ? { replies: [] } : answer)));
}
