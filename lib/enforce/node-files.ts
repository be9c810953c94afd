/** What a call finds of the node's state without asking the kernel, in the runtime folder, by network namespace. */
import { fstatSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { type FileLock, lock } from '../kernel/flock.ts';
import type { NetnsIdentity } from '../kernel/netns.ts';
import { parseJson, readText, writeJson } from '../state/atomic.ts';
import { doing } from '../state/error.ts';
import { makeFolders } from '../state/make-folders.ts';
import { type Kept, keptIn, writeKept } from './folder.ts';
import type { NodeState } from './node.ts';

/** The state that the table goes with: the two have one marker. */
export interface NodeFile {
  readonly marker: number;
  /** Stamps of the manifests that the table was made from: those in the other file, unless its writer died in between. */
  readonly folder: string;
  readonly state: NodeState;
}

type Kind = 'node' | 'applied';

/** A file's text, and what it means. */
interface Seen<T> {
  readonly text: string | undefined;
  readonly content: T;
}

function nodeIn(text: string | undefined): NodeFile | undefined {
  const found = parseJson(text);
  if (found.kind !== 'value') return undefined;
  const { marker, folder, state } = found.value as Partial<NodeFile>;
  return typeof marker === 'number' &&
    typeof folder === 'string' &&
    typeof state?.owner === 'object' &&
    typeof state.pods === 'object'
    ? { marker, folder, state }
    : undefined;
}

export class NodeFiles {
  readonly #runDir: string;
  readonly #stem: string;
  #node: Seen<NodeFile | undefined> | undefined;
  #applied: Seen<Kept> | undefined;

  constructor(runDir: string, here: NetnsIdentity) {
    this.#runDir = runDir;
    this.#stem = join(runDir, String(here.ino));
  }

  get lockPath(): string {
    return `${this.#stem}.lock`;
  }

  /**
   * One at a time in this network namespace. The file may have been removed by its last holder while we waited, so what was
   * locked must still be what others will lock.
   * @param deadline in milliseconds
   * @throws LockTimeoutError, StateError
   */
  async lock(deadline: number, signal?: AbortSignal): Promise<FileLock> {
    doing('make folder', this.#runDir, () => makeFolders(this.#runDir));
    const end = performance.now() + deadline;
    for (;;) {
      const held = await lock(this.lockPath, Math.max(0, end - performance.now()), signal);
      if (statSync(this.lockPath, { throwIfNoEntry: false })?.ino === fstatSync(held.fd).ino) return held;
      held[Symbol.dispose]();
    }
  }

  /** Undefined where there is none, or none that can be read: then the kernel and the records tell. */
  read(): NodeFile | undefined {
    this.#node = this.#fresh(this.#node, 'node', nodeIn);
    return this.#node.content;
  }

  /** What was understood before, where the text still is the same: with 1,000 pods it takes milliseconds to parse. */
  #fresh<T>(seen: Seen<T> | undefined, kind: Kind, understand: (text: string | undefined) => T): Seen<T> {
    const text = readText(`${this.#stem}.${kind}`);
    return seen && seen.text === text ? seen : { text, content: understand(text) };
  }

  /** Changes whenever one of the files does. */
  stamp(): string {
    const stamps = ['node', 'applied'].map(kind => {
      const stat = statSync(`${this.#stem}.${kind}`, { bigint: true, throwIfNoEntry: false });
      return stat ? `${stat.ino}:${stat.size}:${stat.mtimeNs}` : '';
    });
    return stamps.join(' ');
  }

  write(node: NodeFile): void {
    writeJson(`${this.#stem}.node`, node);
  }

  /** The manifests that the table was made from. */
  readApplied(): Kept {
    this.#applied = this.#fresh(this.#applied, 'applied', keptIn);
    return this.#applied.content;
  }

  writeApplied(kept: Kept): void {
    writeKept(`${this.#stem}.applied`, kept);
  }

  /** When the last pod has gone; the lock, which its caller holds, goes last. */
  removeAll(): void {
    for (const kind of ['node', 'applied']) rmSync(`${this.#stem}.${kind}`, { force: true });
    rmSync(this.lockPath, { force: true });
  }
}
