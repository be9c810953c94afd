/**
 * Temporary folders of a test, which go with its process, however that ends; those of a process that was killed are removed by a
 * later one.
 */
import { chmodSync, existsSync, mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Folders of all processes are called tg-<pid>-…, as network namespaces of tests are. */
const ours = /^tg-(\d+)-\w{6}$/;
/** Milliseconds: a number of a process may be that of another process namespace, whose tests do not take as long. */
const OLD = 24 * 3_600_000;

const remove = (folder: string): void => rmSync(folder, { recursive: true, force: true, maxRetries: 10 });

function removeOfTheDead(): void {
  for (const name of readdirSync(tmpdir())) {
    const [, pid] = ours.exec(name) ?? [];
    if (pid === undefined || existsSync(`/proc/${pid}`)) continue;
    const found = statSync(join(tmpdir(), name), { throwIfNoEntry: false });
    if (found && Date.now() - found.mtimeMs > OLD) remove(join(tmpdir(), name));
  }
}

let root: string | undefined;

/** The folder of this process that holds all others. */
function rootOfProcess(): string {
  if (root !== undefined) return root;
  removeOfTheDead();
  const made = mkdtempSync(join(tmpdir(), `tg-${process.pid}-`));
  // Programs that a test starts as another user are let through to the folders that it opens to them.
  chmodSync(made, 0o711);
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(1));
  process.once('exit', () => {
    try {
      remove(made);
    } catch {
      // A child that is about to die writes into it: left to a later process.
    }
  });
  root = made;
  return made;
}

/** Makes an empty folder. */
export const scratchFolder = (name = 'folder'): string => mkdtempSync(join(rootOfProcess(), `${name}-`));
