/** Milliseconds for which this thread has had a processor. */
export function processorTime(): number {
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1e3;
}
