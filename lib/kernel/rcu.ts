import { syscallLibc } from './ffi.ts';

/** include/uapi/asm/unistd.h; glibc has no function of that name. */
const SYS_MEMBARRIER: Readonly<Record<string, bigint>> = { x64: 324n, arm64: 283n };
/** include/uapi/linux/membarrier.h */
const MEMBARRIER_CMD_GLOBAL = 1n;

/**
 * Returns when every packet that was in the middle of a ruleset when this was called has come to its end: the system call
 * waits for an RCU grace period, and rules are evaluated inside RCU read sections. Some milliseconds. A kernel without it
 * (CONFIG_MEMBARRIER) does not wait.
 */
export function waitForRcuGracePeriod(): void {
  const number = SYS_MEMBARRIER[process.arch];
  if (number !== undefined) syscallLibc().syscall(number, MEMBARRIER_CMD_GLOBAL, 0n, 0n, 0n);
}
