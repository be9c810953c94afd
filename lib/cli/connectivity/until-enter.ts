import { createInterface } from 'node:readline/promises';

/** The command says that its pods are plugged in or ready, and goes on when the admin presses Enter. @param what that sentence */
export async function untilEnter(what: string): Promise<void> {
  process.stderr.write(`${what} Enter goes on.\n`);
  using lines = createInterface({ input: process.stdin });
  await lines.question('');
}
