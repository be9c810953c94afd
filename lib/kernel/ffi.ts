/**
 * The libc calls that Node lacks, through node:ffi: the only place that knows a C signature.
 * Loaded at the first use and proved by a self-test then, because node:ffi is experimental, and a signature that it
 * misreads is silently a `void f(void)`.
 */
import type { FunctionDefinitions, WrappedFunctionsFromDefinitions } from 'node:ffi';
import { getSystemErrorMessage, getSystemErrorName } from 'node:util';
import { errnos, knownErrno } from './errno.ts';

/**
 * node:ffi makes machine code of its own for a function of up to six arguments, as near to it as a page is free, for which it
 * asks the kernel page by page: thirty system calls a function, more than a call of a runtime makes of it. So each has seven
 * here, of which C, whose caller puts arguments where they belong and takes them away, does not see the last.
 */
const [two, three, four, five] = [
  ['int32', 'int32'],
  ['int32', 'int32', 'int32'],
  ['int32', 'int32', 'int32', 'int32'],
  ['int32', 'int32', 'int32', 'int32', 'int32'],
] as const;

const signatures = {
  __errno_location: { arguments: [...three, ...four], return: 'pointer' },
  setns: { arguments: ['int32', 'int32', ...five], return: 'int32' },
  flock: { arguments: ['int32', 'int32', ...five], return: 'int32' },
  socket: { arguments: ['int32', 'int32', 'int32', ...four], return: 'int32' },
  setsockopt: { arguments: ['int32', 'int32', 'int32', 'buffer', 'uint32', ...two], return: 'int32' },
  send: { arguments: ['int32', 'buffer', 'uint64', 'int32', ...three], return: 'int64' },
  recv: { arguments: ['int32', 'buffer', 'uint64', 'int32', ...three], return: 'int64' },
} as const satisfies FunctionDefinitions;

type Bytes = NodeJS.ArrayBufferView;

/** Each gives -1 where it fails. @see the manual's pages of these names, setns(2) and so on */
interface Functions {
  readonly setns: (fd: number, flags: number) => number;
  readonly flock: (fd: number, operation: number) => number;
  readonly socket: (family: number, type: number, protocol: number) => number;
  readonly setsockopt: (fd: number, level: number, option: number, value: Bytes, length: number) => number;
  readonly send: (fd: number, bytes: Bytes, length: bigint, flags: number) => bigint;
  readonly recv: (fd: number, bytes: Bytes, length: bigint, flags: number) => bigint;
}

interface Libc extends Functions {
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

function load(): Libc {
  const ffi = ffiModule();
  let c: WrappedFunctionsFromDefinitions<typeof signatures>;
  try {
    c = ffi.dlopen('libc.so.6', signatures).functions;
  } catch (error) {
    return fail(error instanceof Error ? error.message : String(error));
  }
  const location = c.__errno_location(0, 0, 0, 0, 0, 0, 0);
  if (typeof location !== 'bigint' || location === 0n) fail('__errno_location() gives no pointer');
  const libc: Libc = {
    errno: () => ffi.getInt32(location, 0),
    setns: (fd, flags) => c.setns(fd, flags, 0, 0, 0, 0, 0),
    flock: (fd, operation) => c.flock(fd, operation, 0, 0, 0, 0, 0),
    socket: (family, type, protocol) => c.socket(family, type, protocol, 0, 0, 0, 0),
    setsockopt: (fd, level, option, value, length) => c.setsockopt(fd, level, option, value, length, 0, 0),
    send: (fd, bytes, length, flags) => c.send(fd, bytes, length, flags, 0, 0, 0),
    recv: (fd, bytes, length, flags) => c.recv(fd, bytes, length, flags, 0, 0, 0),
  };
  selfTest(libc);
  return libc;
}

const { EAFNOSUPPORT, EBADF, EINVAL, ENOENT, ENOSYS, EPERM } = errnos;
const LOCK_UN = 8;

/**
 * Calls every function in a way that must fail, and holds result and errno against what the manual says: a signature
 * that was ignored or misread shows here, and not in a socket option that was never set.
 * @throws NativeCallError
 */
export function selfTest(libc: Libc): void {
  const bytes = new Uint8Array(16);
  const fails: readonly (readonly [call: string, result: () => number | bigint, errno: number])[] = [
    ['setns(-1)', () => libc.setns(-1, 0), EBADF],
    ['flock(-1)', () => libc.flock(-1, LOCK_UN), EBADF],
    ['socket(-1)', () => libc.socket(-1, 0, 0), EAFNOSUPPORT],
    ['setsockopt(-1)', () => libc.setsockopt(-1, 0, 0, bytes, 0), EBADF],
    ['send(-1)', () => libc.send(-1, bytes, 0n, 0), EBADF],
    ['recv(-1)', () => libc.recv(-1, bytes, 0n, 0), EBADF],
  ];
  for (const [call, attempt, expected] of fails) {
    let result: number | bigint;
    try {
      result = attempt();
    } catch (error) {
      fail(`${call} throws ${error instanceof Error ? error.message : String(error)}`);
    }
    const errno = libc.errno();
    if (Number(result) !== -1 || errno !== expected) fail(`${call} gives ${result}, errno ${errno}, not ${expected}`);
  }
}

/** For system calls that glibc has no function for: loaded apart, since few runs of a runtime's call want one. */
const syscallSignatures = {
  syscall: { arguments: ['int64', 'int64', 'int64', 'int64', 'int64'], return: 'int64' },
} as const satisfies FunctionDefinitions;

interface SyscallLibc extends WrappedFunctionsFromDefinitions<typeof syscallSignatures> {
  /** Where the bytes are, for as long as they are held. */
  readonly pointerTo: (bytes: NodeJS.ArrayBufferView) => bigint;
}

let loadedSyscall: SyscallLibc | undefined;

/** @throws NativeCallError where the signature is misread: a call of no number must fail */
export function syscallLibc(): SyscallLibc {
  loadedSyscall ??= loadSyscall();
  return loadedSyscall;
}

function loadSyscall(): SyscallLibc {
  const { errno } = libc();
  const ffi = ffiModule();
  const { syscall } = ffi.dlopen('libc.so.6', syscallSignatures).functions;
  const result = syscall(-1n, 0n, 0n, 0n, 0n);
  if (result !== -1n || errno() !== ENOSYS) fail(`syscall(-1) gives ${result}, errno ${errno()}, not ${ENOSYS}`);
  return { syscall, pointerTo: ffi.getRawPointer };
}

/** What there is to know of a socket that is open: loaded apart, since a call of a runtime knows enough of its own. */
const socketSignatures = {
  bind: { arguments: ['int32', 'buffer', 'uint32'], return: 'int32' },
  getsockname: { arguments: ['int32', 'buffer', 'buffer'], return: 'int32' },
  getsockopt: { arguments: ['int32', 'int32', 'int32', 'buffer', 'buffer'], return: 'int32' },
} as const satisfies FunctionDefinitions;

type SocketLibc = WrappedFunctionsFromDefinitions<typeof socketSignatures>;

let loadedSocket: SocketLibc | undefined;

/** @throws NativeCallError where a signature is misread: each is called in a way that must fail */
export function socketLibc(): SocketLibc {
  loadedSocket ??= loadSocket();
  return loadedSocket;
}

function loadSocket(): SocketLibc {
  const { errno } = libc();
  const { functions } = ffiModule().dlopen('libc.so.6', socketSignatures);
  const bytes = new Uint8Array(16);
  const results = {
    bind: functions.bind(-1, bytes, 0),
    getsockname: functions.getsockname(-1, bytes, bytes),
    getsockopt: functions.getsockopt(-1, 0, 0, bytes, bytes),
  };
  for (const [call, result] of Object.entries(results)) if (result !== -1) fail(`${call}(-1) gives ${result}, not -1`);
  if (errno() !== EBADF) fail(`getsockopt(-1) gives errno ${errno()}, not ${EBADF}`);
  return functions;
}

/** For files in memory: loaded apart, since no call of a runtime makes one. */
const memorySignatures = {
  memfd_create: { arguments: ['string', 'uint32'], return: 'int32' },
} as const satisfies FunctionDefinitions;

/** @throws NativeCallError where the signature is misread: flags that nobody knows must fail */
export function memoryLibc(): WrappedFunctionsFromDefinitions<typeof memorySignatures> {
  const { errno } = libc();
  const { functions } = ffiModule().dlopen('libc.so.6', memorySignatures);
  const result = functions.memfd_create('', 0xffffffff);
  if (result !== -1 || errno() !== EINVAL)
    fail(`memfd_create(flags ~0) gives ${result}, errno ${errno()}, not ${EINVAL}`);
  return functions;
}

/** What makes a world of its own for a demonstration: loaded apart, so that no call of a runtime pays for it. */
const worldSignatures = {
  unshare: { arguments: ['int32'], return: 'int32' },
  mount: { arguments: ['string', 'string', 'string', 'uint64', 'pointer'], return: 'int32' },
} as const satisfies FunctionDefinitions;

type WorldLibc = WrappedFunctionsFromDefinitions<typeof worldSignatures>;

/** @throws NativeCallError where a signature is misread: both are called in a way that must fail */
export function worldLibc(): WorldLibc {
  const { errno } = libc();
  const { functions } = ffiModule().dlopen('libc.so.6', worldSignatures);
  const unshared = functions.unshare(1);
  if (unshared !== -1 || errno() !== EINVAL) fail(`unshare(1) gives ${unshared}, errno ${errno()}, not ${EINVAL}`);
  const mounted = functions.mount('none', '', 'tmpfs', 0n, 0n);
  if (mounted !== -1 || (errno() !== ENOENT && errno() !== EPERM))
    fail(`mount() on an empty path gives ${mounted}, errno ${errno()}`);
  return functions;
}

/** How malloc keeps what was freed: for a process that lives long, and so loaded apart, too. */
const mallocSignatures = {
  mallopt: { arguments: ['int32', 'int32'], return: 'int32' },
  malloc_trim: { arguments: ['uint64'], return: 'int32' },
} as const satisfies FunctionDefinitions;

/** @throws NativeCallError where a signature is misread: a function of no result gives neither of these */
export function mallocLibc(): WrappedFunctionsFromDefinitions<typeof mallocSignatures> {
  const { functions } = ffiModule().dlopen('libc.so.6', mallocSignatures);
  const trimmed = functions.malloc_trim(0n);
  if (trimmed !== 0 && trimmed !== 1) fail(`malloc_trim(0) gives ${trimmed}, neither 0 nor 1`);
  return functions;
}

let loaded: Libc | undefined;

/** @throws NativeCallError where the self-test fails. */
export function libc(): Libc {
  loaded ??= load();
  return loaded;
}

/** The result of a libc call as a number; -1 becomes a SyscallError "Cannot <operation>: …". */
export function checked(operation: string, result: number | bigint): number {
  if (Number(result) === -1) throw new SyscallError(operation, libc().errno());
  return Number(result);
}
