/**
 * The work that is under way, in one line on stderr that the next call writes over; an empty text takes it away. Where stderr
 * is no terminal nothing is written: a pipe and a log get no such lines.
 */
export function progress(text: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r\u001b[K${text}`);
}
