/**
 * The libc calls that Node lacks, through node:ffi: the only place that knows a C signature.
 * Loaded at the first use and proved by a self-test then, because node:ffi is experimental, and a signature that it
 * misreads is silently a `void f(void)`.
 */
import type { FunctionDefinitions, WrappedFunctionsFromDefinitions } from 'node:ffi';
import { getSystemErrorMessage, getSystemErrorName } from 'node:util';
import { errnos, knownErrno } from './errno.ts';

const signatures = {
  __errno_location: { arguments: [], return: 'pointer' },
  setns: { arguments: ['int32', 'int32'], return: 'int32' },
  flock: { arguments: ['int32', 'int32'], return: 'int32' },
  socket: { arguments: ['int32', 'int32', 'int32'], return: 'int32' },
  setsockopt: { arguments: ['int32', 'int32', 'int32', 'buffer', 'uint32'], return: 'int32' },
  send: { arguments: ['int32', 'buffer', 'uint64', 'int32'], return: 'int64' },
  recv: { arguments: ['int32', 'buffer', 'uint64', 'int32'], return: 'int64' },
} as const satisfies FunctionDefinitions;

/** Each function gives -1 where it fails. @see the manual's pages of these names, setns(2) and so on */
interface Libc extends Omit<LibcFunctions<typeof signatures>, '__errno_location'> {
  /** errno of this thread; right only directly after the call that failed. */
  readonly errno: () => number;
}

/** node:ffi is missing, or does not call C the way that its documentation says: nothing native can be trusted. */
export class NativeCallError extends Error {
  override readonly name = 'NativeCallError';
}

/** A libc call that returned -1. */
export class SyscallError extends Error {
  override readonly name = 'SyscallError';
  readonly operation: string;
  /** Positive, as in errno.h. */
  readonly errno: number;
  /** `EEXIST` and the like. */
  readonly code: string;

  constructor(operation: string, errno: number) {
    super(`Cannot ${operation}: ${describeErrno(errno)}`);
    this.operation = operation;
    this.errno = errno;
    this.code = errnoName(errno);
  }
}

/** Two numbers that libuv does not name, and netfilter sends: a stale generation, and "not supported" (kernel-internal). */
const unnamed: Readonly<Record<number, readonly [code: string, text: string]>> = {
  85: ['ERESTART', 'interrupted by another change'],
  524: ['ENOTSUPP', 'operation is not supported'],
};

/** `EEXIST` for 17; `E1234` for a number without a name. */
export function errnoName(errno: number): string {
  const name = knownErrno(errno) ?? unnamed[errno]?.[0] ?? getSystemErrorName(-errno);
  return name.startsWith('E') ? name : `E${errno}`;
}

/** `EEXIST (file already exists)`. */
export function describeErrno(errno: number): string {
  const text = unnamed[errno]?.[1] ?? getSystemErrorMessage(-errno);
  return text ? `${errnoName(errno)} (${text})` : errnoName(errno);
}

/** node:ffi without its notice: stderr belongs to the container runtime's log, and the notice says nothing of this call. */
function ffiModule(): typeof import('node:ffi') {
  const emitWarning = process.emitWarning;
  process.emitWarning = () => {};
  try {
    return process.getBuiltinModule('node:ffi') ?? fail('Node has no node:ffi');
  } finally {
    process.emitWarning = emitWarning;
  }
}

function fail(message: string): never {
  throw new NativeCallError(`Cannot call libc from Node ${process.version}: ${message}`);
}

/** More than node:ffi makes machine code for, on any processor. */
const ARGUMENTS = 9;

type LibcFunctions<D extends FunctionDefinitions> = {
  readonly [K in keyof D]: (
    ...given: Parameters<WrappedFunctionsFromDefinitions<D>[K]>
  ) => ReturnType<WrappedFunctionsFromDefinitions<D>[K]>;
};

/**
 * Functions of libc by their signatures. For one of up to eight arguments, node:ffi makes machine code, as near to it as a page
 * is free, for which it asks the kernel page by page: thirty system calls a function, more than a call of a runtime makes of
 * it. And where a thread ends while V8 still compiles a caller of that code, the whole process crashes. So each function
 * is given nine arguments, of which C, whose caller puts them where they belong and takes them away, does not see the last.
 * @throws NativeCallError
 */
export function fromLibc<const D extends FunctionDefinitions>(definitions: D): LibcFunctions<D> {
  const longer = Object.entries(definitions).map(([name, { arguments: own = [], return: result }]) => {
    const unseen = Array.from({ length: ARGUMENTS - own.length }, () => 'int32');
    return [name, { arguments: [...own, ...unseen], return: result }];
  });
  let functions: Readonly<Record<string, (...all: unknown[]) => unknown>>;
  try {
    functions = ffiModule().dlopen('libc.so.6', Object.fromEntries(longer)).functions;
  } catch (error) {
    return fail(error instanceof Error ? error.message : String(error));
  }
  const shorter = Object.entries(definitions).map(([name, { arguments: own = [] }]) => {
    const unseen = new Array<number>(ARGUMENTS - own.length).fill(0);
    return [name, (...given: unknown[]) => functions[name]!(...given, ...unseen)];
  });
  return Object.fromEntries(shorter);
}

function load(): Libc {
  const { __errno_location, ...functions } = fromLibc(signatures);
  const location = __errno_location();
  if (typeof location !== 'bigint' || location === 0n) fail('__errno_location() gives no pointer');
  const { getInt32 } = ffiModule();
  const libc: Libc = { ...functions, errno: () => getInt32(location, 0) };
  selfTest(libc);
  return libc;
}

const { EAFNOSUPPORT, EBADF, EINVAL, ENOENT, ENOSYS, EPERM } = errnos;
const LOCK_UN = 8;

/** A call that must fail, and the errors that it may fail with. */
type Failing = readonly [call: string, attempt: () => number | bigint, ...errors: number[]];

/**
 * Calls functions in a way that must fail, and holds result and errno against what the manual says: a signature that was
 * ignored or misread shows here, and not in a socket option that was never set.
 * @throws NativeCallError
 */
function mustFail({ errno }: Pick<Libc, 'errno'>, calls: readonly Failing[]): void {
  for (const [call, attempt, ...errors] of calls) {
    let result: number | bigint;
    try {
      result = attempt();
    } catch (error) {
      fail(`${call} throws ${error instanceof Error ? error.message : String(error)}`);
    }
    const reason = errno();
    if (Number(result) !== -1 || !errors.includes(reason))
      fail(`${call} gives ${result}, errno ${reason}, not ${errors.join(' or ')}`);
  }
}

/** @throws NativeCallError */
export function selfTest(libc: Libc): void {
  const bytes = new Uint8Array(16);
  mustFail(libc, [
    ['setns(-1)', () => libc.setns(-1, 0), EBADF],
    ['flock(-1)', () => libc.flock(-1, LOCK_UN), EBADF],
    ['socket(-1)', () => libc.socket(-1, 0, 0), EAFNOSUPPORT],
    ['setsockopt(-1)', () => libc.setsockopt(-1, 0, 0, bytes, 0), EBADF],
    ['send(-1)', () => libc.send(-1, bytes, 0n, 0), EBADF],
    ['recv(-1)', () => libc.recv(-1, bytes, 0n, 0), EBADF],
  ]);
}

function once<T>(load: () => T): () => T {
  let loaded: T | undefined;
  return () => {
    loaded ??= load();
    return loaded;
  };
}

/** @throws NativeCallError where the self-test fails. */
export const libc = once(load);

/** System calls that glibc has no function for; loaded apart, since few calls of a runtime need one. */
const syscallSignatures = {
  syscall: { arguments: ['int64', 'int64', 'int64', 'int64', 'int64'], return: 'int64' },
} as const satisfies FunctionDefinitions;

interface SyscallLibc extends LibcFunctions<typeof syscallSignatures> {
  /** Address of the bytes, which is valid for as long as the caller holds them. */
  readonly pointerTo: (bytes: NodeJS.ArrayBufferView) => bigint;
}

/** @throws NativeCallError where the signature is misread */
export const syscallLibc = once((): SyscallLibc => {
  const { syscall } = fromLibc(syscallSignatures);
  mustFail(libc(), [['syscall(-1)', () => syscall(-1n, 0n, 0n, 0n, 0n), ENOSYS]]);
  return { syscall, pointerTo: ffiModule().getRawPointer };
});

/** Functions on an open socket: loaded apart, since most CNI calls do not need them. */
const socketSignatures = {
  bind: { arguments: ['int32', 'buffer', 'uint32'], return: 'int32' },
  getsockname: { arguments: ['int32', 'buffer', 'buffer'], return: 'int32' },
  getsockopt: { arguments: ['int32', 'int32', 'int32', 'buffer', 'buffer'], return: 'int32' },
} as const satisfies FunctionDefinitions;

/** @throws NativeCallError where a signature is misread */
export const socketLibc = once(() => {
  const functions = fromLibc(socketSignatures);
  const bytes = new Uint8Array(16);
  mustFail(libc(), [
    ['bind(-1)', () => functions.bind(-1, bytes, 0), EBADF],
    ['getsockname(-1)', () => functions.getsockname(-1, bytes, bytes), EBADF],
    ['getsockopt(-1)', () => functions.getsockopt(-1, 0, 0, bytes, bytes), EBADF],
  ]);
  return functions;
});

/** Files in memory; loaded apart, since no call of a runtime makes one. */
const memorySignatures = {
  memfd_create: { arguments: ['string', 'uint32'], return: 'int32' },
} as const satisfies FunctionDefinitions;

/** @throws NativeCallError where the signature is misread */
export const memoryLibc = once(() => {
  const functions = fromLibc(memorySignatures);
  mustFail(libc(), [['memfd_create(flags ~0)', () => functions.memfd_create('', 0xffffffff), EINVAL]]);
  return functions;
});

/** Functions that make new namespaces for a demonstration: loaded apart, so that no call of a runtime pays for them. */
const worldSignatures = {
  unshare: { arguments: ['int32'], return: 'int32' },
  mount: { arguments: ['string', 'string', 'string', 'uint64', 'pointer'], return: 'int32' },
} as const satisfies FunctionDefinitions;

/** @throws NativeCallError where a signature is misread */
export const worldLibc = once(() => {
  const functions = fromLibc(worldSignatures);
  mustFail(libc(), [
    ['unshare(1)', () => functions.unshare(1), EINVAL],
    ['mount() on an empty path', () => functions.mount('none', '', 'tmpfs', 0n, 0n), ENOENT, EPERM],
  ]);
  return functions;
});

/** How malloc keeps what was freed: for a process that lives long, and so loaded apart, too. */
const mallocSignatures = {
  mallopt: { arguments: ['int32', 'int32'], return: 'int32' },
  malloc_trim: { arguments: ['uint64'], return: 'int32' },
} as const satisfies FunctionDefinitions;

/** @throws NativeCallError where a signature is misread: a function of no result gives neither of these */
export const mallocLibc = once(() => {
  const functions = fromLibc(mallocSignatures);
  const trimmed = functions.malloc_trim(0n);
  if (trimmed !== 0 && trimmed !== 1) fail(`malloc_trim(0) gives ${trimmed}, neither 0 nor 1`);
  return functions;
});

/** The result of a libc call as a number; -1 becomes a SyscallError "Cannot <operation>: …". */
export function checked(operation: string, result: number | bigint): number {
  if (Number(result) === -1) throw new SyscallError(operation, libc().errno());
  return Number(result);
}
