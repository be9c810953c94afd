/** Milliseconds from some moment on. Not `performance.now()`: the first use of that loads a module, for a millisecond. */
export function monotonic(): number {
  const [seconds, nanoseconds] = process.hrtime();
  return seconds * 1e3 + nanoseconds / 1e6;
}
