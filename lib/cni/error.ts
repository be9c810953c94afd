/**
 * Every failure that a runtime may see, as a code and a message that says what to do.
 * @see https://github.com/containernetworking/cni/blob/main/SPEC.md#error
 *
 * Codes below 100 are the specification's; ours start at 100. 999 is what libcni calls any untyped error, so it is not used.
 */
export const codes = {
  incompatibleVersion: 1,
  /** The message must contain key and value. */
  unsupportedField: 2,
  /** A runtime may take this as leave to skip DEL: never used for a container that might still hold something. */
  unknownContainer: 3,
  invalidEnvironment: 4,
  ioFailure: 5,
  decodingFailure: 6,
  invalidConfig: 7,
  invalidNetns: 8,
  tryAgainLater: 11,
  notAvailable: 50,
  /** Not available, and pods that are already there may have lost connectivity. */
  limitedConnectivity: 51,
  /** No address left in a range set, or the one that was asked for is taken. */
  poolExhausted: 100,
  /** This container already has this interface. */
  duplicateAttachment: 101,
  /** The kernel refused a link, address, route or neighbour (rtnetlink, setns, sysctl). */
  kernelRefused: 102,
  /** The kernel refused an nftables batch, so the pod stays closed. */
  nftRefused: 103,
  /** CHECK found that what is there differs from what ADD made. */
  checkMismatch: 104,
  /** The record of attachments or addresses cannot be read or written. */
  stateStore: 105,
  /** Another plugin that we ran failed, by its own code or without one. */
  delegateFailed: 106,
  /** The enforcement hook said no, or did not answer in time. */
  enforcementRefused: 107,
  /** A link, address or table that the call needs belongs to another program. */
  notOurs: 108,
  /** A defect of ours: the stack trace is on stderr. */
  internal: 199,
} as const;

export type CodeName = keyof typeof codes;

/** A failure with its CNI code; `details` is for what a person wants to read after the message. */
export class CniError extends Error {
  override readonly name = 'CniError';
  readonly code: number;
  readonly details: string | undefined;

  constructor(code: number, message: string, details?: string, options?: { readonly cause?: unknown }) {
    super(message, options);
    this.code = code;
    this.details = details;
  }
}

/** The message of any thrown value: of an error without its name and stack. */
export const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

/** The JSON that a failed call prints on stdout. */
export interface ErrorObject {
  readonly cniVersion: string;
  readonly code: number;
  readonly msg: string;
  readonly details?: string;
}

/** Any thrown value as an error object; one without a code becomes `internal`, without its stack trace. */
export function errorObject(error: unknown, cniVersion: string): ErrorObject {
  if (!(error instanceof CniError)) {
    const said = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
    return { cniVersion, code: codes.internal, msg: `Unexpected failure, please report it: ${said}` };
  }
  const { code, message: msg, details } = error;
  return details === undefined || details === '' ? { cniVersion, code, msg } : { cniVersion, code, msg, details };
}
