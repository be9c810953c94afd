import { describeErrno } from '../kernel/ffi.ts';

/** A file of ours cannot be read or written. CNI code 105 (`stateStore`). */
export class StateError extends Error {
  override readonly name = 'StateError';
  readonly path: string;
  /** `ENOSPC`, `EROFS` and the like. */
  readonly code: string;

  constructor(action: string, path: string, code: string, reason: string, cause?: unknown) {
    super(`Cannot ${action} ${path}: ${reason}`, { cause });
    this.path = path;
    this.code = code;
  }
}

/** There is no room to write, however little. */
export const isFull = (error: unknown): boolean =>
  error instanceof StateError && (error.code === 'ENOSPC' || error.code === 'EDQUOT');

/** The attachment has addresses already: a second ADD, or one that died and was not undone. CNI code 101. */
export class AlreadyReserved extends Error {
  override readonly name = 'AlreadyReserved';
  readonly addresses: readonly string[];

  constructor(attachment: string, addresses: readonly string[]) {
    const held = addresses.length > 0 ? addresses.join(', ') : 'an address';
    super(`Cannot reserve addresses for ${attachment}: it holds ${held} already, DEL it first`);
    this.addresses = addresses;
  }
}

/** What to do where the folders of the state are read-only. */
const OTHER_STATE = 'set stateDir and runDir to folders that can be written';

/**
 * Advice for an error whose number alone does not tell a person what to do.
 * @param otherwise where else the file could be
 */
const adviceFor = (otherwise: string): Readonly<Record<string, string>> => ({
  ENOSPC: 'the disk is full (space or inodes), free some and try again',
  EDQUOT: 'the disk quota is used up',
  EROFS: `the file system is read-only: mount it read-write, or ${otherwise}`,
  EPERM: 'not permitted (stateDir needs a file system with hard links)',
});

interface ErrnoException extends Error {
  readonly code: string;
  readonly errno: number;
}

const isErrno = (error: unknown): error is ErrnoException =>
  error instanceof Error && 'code' in error && 'errno' in error && typeof error.errno === 'number';

/** `ENOENT` for a failed file operation; undefined for any other error. */
export const errnoOf = (error: unknown): string | undefined => (isErrno(error) ? error.code : undefined);

/** A failed file operation as a StateError; any other error as it is. */
function stateErrorOf(error: unknown, action: string, path: string, otherwise = OTHER_STATE): unknown {
  if (!isErrno(error)) return error;
  const known = adviceFor(otherwise)[error.code];
  const reason = known ? `${known} (${error.code})` : describeErrno(Math.abs(error.errno));
  return new StateError(action, path, error.code, reason, error);
}

/**
 * The result of a file operation; its failure as a StateError "Cannot <action> <path>: …".
 * @param otherwise what to do where the file system is read-only, for files that are no state
 */
export function doing<T>(action: string, path: string, operation: () => T, otherwise?: string): T {
  try {
    return operation();
  } catch (error) {
    throw stateErrorOf(error, action, path, otherwise);
  }
}

/** The result of an asynchronous file operation; its failure as for `doing`. */
export async function doingLater<T>(action: string, path: string, operation: () => Promise<T>): Promise<T> {
  try {
    return await operation();
  } catch (error) {
    throw stateErrorOf(error, action, path);
  }
}
