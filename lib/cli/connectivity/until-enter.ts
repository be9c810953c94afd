import { createInterface } from 'node:readline/promises';

/** Tells what there is to look at, and resolves when a person presses Enter. */
export async function untilEnter(what: string): Promise<void> {
  process.stderr.write(`${what} Enter goes on.\n`);
  using lines = createInterface({ input: process.stdin });
  await lines.question('');
}
