/**
 * Paths as another process sees them: a caller of the agent names files of its own mount namespace, and the agent may live in a
 * container, where the same path is another file or none.
 */
import { closeSync, constants, fstatSync, openSync, readFileSync, readlinkSync, statSync } from 'node:fs';
import { checked, syscallLibc } from './ffi.ts';
import { isErrno } from './message.ts';

/** include/uapi/asm-generic/unistd.h: the same number on all architectures. */
const SYS_OPENAT2 = 437n;
/** include/uapi/linux/openat2.h: absolute symlinks and `..` end at the folder. */
const RESOLVE_IN_ROOT = 0x10n;
/** Node has no name for it. include/uapi/asm-generic/fcntl.h */
const O_PATH = 0o10000000;
const O_CLOEXEC = 0o2000000;
const READ = constants.O_RDONLY | constants.O_NONBLOCK;

/** Whether the process has ended, and no path of its can be seen any more. */
const isGone = (error: unknown): boolean => isErrno(error, 'ENOENT', 'ESRCH');

/**
 * Opens the file as the process sees it: for reading, not blocked by a FIFO, unless flags say otherwise. A path below
 * /proc/self is that process's.
 * @throws what open() throws: SyscallError or Node's own, each with a `code`; ESRCH where there is no such process
 */
export function openAsSeenBy(pid: number, path: string, flags = READ, mode = 0): number {
  const own = /^\/proc\/(?:thread-)?self(?=\/)/.exec(path);
  if (own) return openSync(`/proc/${pid}${path.slice(own[0].length)}`, flags, mode);
  try {
    return openInRoot(pid, path, flags, mode);
  } catch (error) {
    // No openat2 (before 5.6, or kept from us); or a link of /proc, as /proc/1234/ns/net, which it does not follow.
    if (!isErrno(error, 'ENOSYS', 'EPERM', 'ELOOP', 'EXDEV', 'EAGAIN')) throw error;
    return openSync(`/proc/${pid}/root${path}`, flags, mode);
  }
}

function rootOf(pid: number): number {
  const path = `/proc/${pid}/root`;
  try {
    return openSync(path, O_PATH | constants.O_DIRECTORY);
  } catch (error) {
    if (!isGone(error)) throw error;
    throw Object.assign(new Error(`Cannot see what process ${pid} sees: it is gone`, { cause: error }), {
      code: 'ESRCH',
    });
  }
}

function openInRoot(pid: number, path: string, flags: number, mode: number): number {
  const root = rootOf(pid);
  try {
    const { syscall, pointerTo } = syscallLibc();
    const text = Buffer.from(`${path}\0`);
    // struct open_how: flags, mode, resolve (u64 each)
    const how = new BigUint64Array([BigInt(flags | O_CLOEXEC), BigInt(mode), RESOLVE_IN_ROOT]);
    const result = syscall(SYS_OPENAT2, BigInt(root), pointerTo(text), pointerTo(how), BigInt(how.byteLength));
    return checked(`open ${path} as process ${pid} sees it`, result);
  } finally {
    closeSync(root);
  }
}

/** A process's mount namespace and root. */
interface View {
  readonly mounts: string;
  readonly root: File;
}

const viewOf = (pid: number | 'self'): View => ({
  mounts: readlinkSync(`/proc/${pid}/ns/mnt`),
  root: statSync(`/proc/${pid}/root`, wide),
});

/** A constant of the process, which never leaves its mount namespace. */
let ours: View | undefined;

/** Whether every path means the same to the process as to us. */
export function hasOurMounts(pid: number): boolean {
  ours ??= viewOf('self');
  try {
    const { mounts, root } = viewOf(pid);
    return mounts === ours.mounts && sameFile(root, ours.root);
  } catch (error) {
    if (isGone(error)) return false;
    throw error;
  }
}

const wide = { bigint: true } as const;

interface File {
  readonly dev: bigint;
  readonly ino: bigint;
}

const sameFile = (a: File | undefined, b: File | undefined): boolean => a?.dev === b?.dev && a?.ino === b?.ino;

function fileSeenBy(pid: number, path: string): File | undefined {
  let fd: number;
  try {
    fd = openAsSeenBy(pid, path, O_PATH);
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'ENOTDIR')) return undefined;
    throw error;
  }
  try {
    return fstatSync(fd, wide);
  } finally {
    closeSync(fd);
  }
}

/** Whether the path is one file or folder for both, or for neither. */
export const isSamePathFor = (pid: number, path: string): boolean =>
  sameFile(fileSeenBy(pid, path), statSync(path, { ...wide, throwIfNoEntry: false }));

/** Whether the path is a program, as the process sees it. */
export function isProgramFor(pid: number, path: string): boolean {
  let fd: number;
  try {
    fd = openAsSeenBy(pid, path);
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'ENOTDIR', 'EACCES', 'ELOOP', 'ENXIO')) return false;
    throw error;
  }
  try {
    const { mode } = fstatSync(fd);
    return (mode & constants.S_IFMT) === constants.S_IFREG && (mode & 0o111) !== 0;
  } finally {
    closeSync(fd);
  }
}

/** @throws as openAsSeenBy; Error where it is no regular file, whose end might never come */
export function readSeenBy(pid: number, path: string): string {
  const fd = openAsSeenBy(pid, path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    if (!fstatSync(fd).isFile()) throw new Error('no regular file');
    return readFileSync(fd, 'utf8');
  } finally {
    closeSync(fd);
  }
}
