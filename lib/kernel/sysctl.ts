/**
 * Values below /proc/sys/net: those of the network namespace that the calling thread is in, so for a pod's own, call
 * these inside `inNetns`.
 */
import { closeSync, openSync, readSync, writeSync } from 'node:fs';
import { isErrno } from './message.ts';

/** Below /proc/sys/net, parts joined by slashes, since an interface's name may hold dots: `ipv4/conf/eth0.7/rp_filter`. */
export type SysctlKey = string;

export class SysctlError extends Error {
  override readonly name = 'SysctlError';
  readonly key: SysctlKey;
  /** `ENOENT`: this kernel or link has no such value; `EROFS`, `EACCES`: /proc/sys is closed to us. */
  readonly code: string;

  constructor(action: string, key: SysctlKey, code: string, cause: unknown) {
    super(`Cannot ${action}: ${reasons[code] ?? code}`, { cause });
    this.key = key;
    this.code = code;
  }
}

const reasons: Readonly<Record<string, string>> = {
  ENOENT: 'no such value in this kernel (ENOENT)',
  EROFS: '/proc/sys is mounted read-only (EROFS)',
  EACCES: 'not allowed (EACCES)',
  EPERM: 'not allowed (EPERM)',
  EINVAL: 'the kernel refuses the value (EINVAL)',
};

function pathOf(key: SysctlKey): string {
  if (!/^[^/]+(\/[^/]+)*$/.test(key) || key.split('/').some(part => part === '.' || part === '..'))
    throw new RangeError(`Cannot find a value named ${JSON.stringify(key)} below /proc/sys/net`);
  return `/proc/sys/net/${key}`;
}

function failure(action: string, key: SysctlKey, error: unknown): SysctlError {
  const code = error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : 'EIO';
  return new SysctlError(action, key, code, error);
}

/** The kernel gives a value in one piece, and all that are ours to read are short. */
const buffer = Buffer.allocUnsafe(4096);

const readFrom = (fd: number): string =>
  buffer.toString('latin1', 0, readSync(fd, buffer, 0, buffer.length, 0)).trimEnd();

function withFile<T>(path: string, flags: 'r' | 'r+', work: (fd: number) => T): T {
  const fd = openSync(path, flags);
  try {
    return work(fd);
  } finally {
    closeSync(fd);
  }
}

/** The value as text, without its newline. @throws SysctlError */
export function readSysctl(key: SysctlKey): string {
  const path = pathOf(key);
  try {
    return withFile(path, 'r', readFrom);
  } catch (error) {
    throw failure(`read net/${key}`, key, error);
  }
}

/** As `readSysctl`, but undefined where this kernel or link has no such value. */
export function findSysctl(key: SysctlKey): string | undefined {
  try {
    return readSysctl(key);
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return undefined;
    throw error;
  }
}

/**
 * Writes the value unless it is there already, so that a read-only /proc/sys does no harm where nothing is to be done.
 * @returns whether it had to be written
 * @throws SysctlError
 */
export function writeSysctl(key: SysctlKey, value: number | string): boolean {
  const want = String(value);
  const path = pathOf(key);
  let have: string | undefined;
  try {
    return withFile(path, 'r+', fd => {
      have = readFrom(fd);
      if (have !== want) writeSync(fd, want, 0);
      return have !== want;
    });
  } catch (error) {
    have ??= readSysctl(key);
    if (have === want) return false;
    throw failure(`set net/${key} to ${want} (it is ${have})`, key, error);
  }
}

/** As `writeSysctl`, but does nothing where this kernel or link has no such value. */
export function writeSysctlIfPresent(key: SysctlKey, value: number | string): boolean {
  try {
    return writeSysctl(key, value);
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return false;
    throw error;
  }
}
