/** Namespaces of this process's own, which the kernel sweeps away with all that is in them when the process ends. */
import { checked, worldLibc } from './ffi.ts';

/** include/uapi/linux/sched.h */
const CLONE_NEWNS = 0x00020000;
const CLONE_NEWNET = 0x40000000;
/** include/uapi/linux/mount.h */
const MS_REC = 0x4000n;
const MS_PRIVATE = 0x40000n;

/**
 * A network namespace of its own for the calling thread and what it starts from now on; other threads stay where they are.
 * @throws SyscallError EPERM without CAP_SYS_ADMIN
 */
export const unshareNetwork = (): void => {
  checked('make a network namespace', worldLibc().unshare(CLONE_NEWNET));
};

/**
 * Mounts of its own for the calling thread and what it starts, with an empty file system in memory over one folder.
 * @throws SyscallError
 */
export function unshareFolder(path: string): void {
  const { unshare, mount } = worldLibc();
  checked('make a mount namespace', unshare(CLONE_NEWNS));
  checked('keep mounts to ourselves', mount('none', '/', '', MS_REC | MS_PRIVATE, 0n));
  checked(`mount a file system in memory over ${path}`, mount('tollgate', path, 'tmpfs', 0n, 0n));
}
