/** Memory of libc's that was freed, and that the kernel may have back. @see mallopt(3), malloc_trim(3) */
import { mallocLibc } from './ffi.ts';

/** malloc.h */
const M_TRIM_THRESHOLD = -1;
const M_MMAP_THRESHOLD = -3;
const M_ARENA_MAX = -8;

/**
 * From here on what is freed goes back to the kernel sooner than is fastest: buffers as a socket reads into them at once,
 * the rest where there are 64 KiB of it; and threads share one arena, since each of their own would keep some.
 */
export function limitFreedMemory(): void {
  const { mallopt } = mallocLibc();
  mallopt(M_ARENA_MAX, 1);
  mallopt(M_MMAP_THRESHOLD, 32 << 10);
  mallopt(M_TRIM_THRESHOLD, 64 << 10);
}

/** All that is free by now. */
export function trimMalloc(): void {
  mallocLibc().malloc_trim(0n);
}
