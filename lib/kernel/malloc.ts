/** Gives memory back to the kernel that libc keeps after it was freed. @see mallopt(3), malloc_trim(3) */
import { mallocLibc } from './ffi.ts';

/** malloc.h */
const M_TRIM_THRESHOLD = -1;
const M_MMAP_THRESHOLD = -3;
const M_ARENA_MAX = -8;

/**
 * Limits what libc keeps of memory that is freed from now on, which is slower: buffers as a socket reads into them go back at
 * once, the rest where there are 64 KiB of it, and threads share one arena, since each of their own would keep some.
 */
export function limitFreedMemory(): void {
  const { mallopt } = mallocLibc();
  mallopt(M_ARENA_MAX, 1);
  mallopt(M_MMAP_THRESHOLD, 32 << 10);
  mallopt(M_TRIM_THRESHOLD, 64 << 10);
}

/** Gives back all memory that is free now. */
export function trimMalloc(): void {
  mallocLibc().malloc_trim(0n);
}
