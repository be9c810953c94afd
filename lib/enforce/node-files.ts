/** What a call finds of the node's state without asking the kernel, in the runtime folder, by network namespace. */

import { fstatSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { type FileLock, lock } from '../kernel/flock.ts';
import { monotonic } from '../kernel/monotonic.ts';
import type { NetnsIdentity } from '../kernel/netns.ts';
import { parseJson, readText, replaceFile, writeJson } from '../state/atomic.ts';
import { doing } from '../state/error.ts';
import { makeFolders } from '../state/make-folders.ts';
import { type Kept, keptIn, writeKept } from './folder.ts';
import type { LocalPod, NodeState } from './node.ts';
import { type Peers, peersIn, peersText } from './peers.ts';
import { type Difference, differenceOf, type Extent, extendRoster, Roster, writeRoster } from './roster.ts';
import { counted, noCounts, type PodCounts, standIns } from './stand-in.ts';

/** The state that the table goes with: the two have one marker. */
export interface NodeFile {
  readonly marker: number;
  /** The oldest of the markers that are still in the table, where that is not the only one. */
  readonly since?: number;
  /** Stamps of the manifests that the table was made from: those in the other file, unless its writer died in between. */
  readonly folder: string;
  /** The marker that the sets of peers are kept under, where they are. */
  readonly peers?: number;
  readonly state: NodeState;
}

/** The state without its pods, and what there is to say of all of them together. */
export interface NodeHead extends Omit<NodeFile, 'state'> {
  readonly state: Omit<NodeState, 'pods'>;
  readonly roster: Extent;
  readonly counts: PodCounts;
}

/** The pods that a change may touch: one by its key, and the one that comes under it. */
export interface Concern {
  readonly key: string;
  readonly coming?: Pick<LocalPod, 'addresses' | 'hostPorts'>;
}

/** What was read or written last: what comes next is written as the difference. */
interface Last {
  readonly head: NodeHead;
  readonly pods: NodeState['pods'];
}

/** So many milliseconds: readers without the lock may meet a writer between the two files. */
const ATTEMPTS = 10;
/** Lines of pods that are gone, beside as many as there are pods, before the roster is written anew. */
const SLACK = 64;

function headIn(text: string | undefined): NodeHead | undefined {
  const found = parseJson(text);
  if (found.kind !== 'value') return undefined;
  const head = found.value as Partial<NodeHead>;
  const { marker, folder, state, roster, counts } = head;
  return typeof marker === 'number' &&
    typeof folder === 'string' &&
    typeof state?.owner === 'object' &&
    typeof roster?.id === 'string' &&
    typeof counts?.pods === 'number'
    ? (head as NodeHead)
    : undefined;
}

const fileOf = ({ roster: _, counts: __, ...head }: NodeHead, pods: NodeState['pods']): NodeFile => ({
  ...head,
  state: { ...head.state, pods },
});

export class NodeFiles {
  readonly #runDir: string;
  readonly #stem: string;
  #text: string | undefined;
  #whole: NodeFile | undefined;
  #last: Last | undefined;
  #applied: { readonly text: string | undefined; readonly kept: Kept } | undefined;

  constructor(runDir: string, here: NetnsIdentity) {
    this.#runDir = runDir;
    this.#stem = join(runDir, String(here.ino));
  }

  get lockPath(): string {
    return `${this.#stem}.lock`;
  }

  get #headPath(): string {
    return `${this.#stem}.node`;
  }

  get #rosterPath(): string {
    return `${this.#stem}.pods`;
  }

  /**
   * One at a time in this network namespace. The file may have been removed by its last holder while we waited, so what was
   * locked must still be what others will lock.
   * @param deadline in milliseconds
   * @throws LockTimeoutError, StateError
   */
  async lock(deadline: number, signal?: AbortSignal): Promise<FileLock> {
    doing('make folder', this.#runDir, () => makeFolders(this.#runDir));
    const end = monotonic() + deadline;
    for (;;) {
      const held = await lock(this.lockPath, Math.max(0, end - monotonic()), signal);
      if (statSync(this.lockPath, { throwIfNoEntry: false })?.ino === fstatSync(held.fd).ino) return held;
      held[Symbol.dispose]();
    }
  }

  /** All but the pods; undefined as for `read`. */
  readHead(): NodeHead | undefined {
    return headIn(readText(this.#headPath));
  }

  /** Undefined where there is none, or none that can be read: then the kernel and the records tell. */
  read(): NodeFile | undefined {
    const text = readText(this.#headPath);
    // With 1,000 pods it takes milliseconds to parse.
    if (this.#whole && text === this.#text) return this.#whole;
    return this.#consistent(text, (head, roster) => {
      const pods = roster.all();
      this.#last = { head, pods };
      this.#whole = fileOf(head, pods);
      return this.#whole;
    });
  }

  /**
   * As `read`, but with the pods only that a change of this one concerns: it, those that have an address of its or a port of
   * the node, and for all others one of each identity and way of masquerading. Costs nearly the same whatever their number.
   * Undefined also where only the whole state will do.
   */
  readConcerned({ key, coming }: Concern): NodeFile | undefined {
    return this.#consistent(readText(this.#headPath), (head, roster) => {
      const own = roster.find(key);
      const [addresses, hostPorts] = (['addresses', 'hostPorts'] as const).map(each =>
        [own, coming].flatMap<unknown>(pod => pod?.[each] ?? []),
      ) as [string[], unknown[]];
      const concerned = roster.mentioning([
        ...addresses.map(address => JSON.stringify(address)),
        ...(hostPorts.length > 0 ? ['"hostPort":'] : []),
      ]);
      if (own) concerned.set(key, own);
      const others = standIns(head.state.tags, head.counts, [...concerned.values()]);
      if (!others || head.state.leaving || head.state.uncut) return undefined;
      const pods = Object.fromEntries([...others, ...concerned]);
      this.#last = { head, pods };
      return fileOf(head, pods);
    });
  }

  /** The pod of this key, without a look at the others. */
  find(key: string): LocalPod | undefined {
    return this.#consistent(readText(this.#headPath), (_, roster) => roster.find(key));
  }

  /** What is made of the two files where they go together. */
  #consistent<T>(first: string | undefined, understand: (head: NodeHead, roster: Roster) => T): T | undefined {
    this.#last = undefined;
    this.#whole = undefined;
    let text = first;
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const head = headIn(text);
      if (!head) return undefined;
      const roster = Roster.read(this.#rosterPath, head.roster);
      if (roster) {
        this.#text = text;
        return understood(() => understand(head, roster));
      }
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1);
      text = readText(this.#headPath);
    }
    return undefined;
  }

  /** Changes whenever one of the files does. */
  stamp(): string {
    const stamps = ['node', 'applied'].map(kind => {
      const stat = statSync(`${this.#stem}.${kind}`, { bigint: true, throwIfNoEntry: false });
      return stat ? `${stat.ino}:${stat.size}:${stat.mtimeNs}` : '';
    });
    return stamps.join(' ');
  }

  /**
   * The state that is in force now: after what this object read or wrote last, if it did, under the same lock.
   * @throws StateError; then the files are as they were, as far as they count
   */
  write({ state, ...rest }: NodeFile): void {
    const { pods, ...others } = state;
    const difference = differenceOf(this.#last?.pods ?? {}, pods);
    const counts = counted(this.#last?.head.counts ?? noCounts, this.#last?.pods ?? {}, difference);
    const roster = this.#enrol(difference, counts, pods);
    const head: NodeHead = { ...rest, state: others, roster, counts };
    this.#text = undefined;
    writeJson(this.#headPath, head);
    this.#last = { head, pods };
  }

  #enrol(difference: Difference, { pods: number }: PodCounts, pods: NodeState['pods']): Extent {
    const last = this.#last;
    if (!last) return writeRoster(this.#rosterPath, pods);
    const { came, went } = difference;
    if (came.length + went.length === 0) return last.head.roster;
    if (last.head.roster.lines + came.length + went.length <= 2 * number + SLACK)
      return extendRoster(this.#rosterPath, last.head.roster, difference);
    // `pods` may be but those that are concerned.
    const all = Roster.read(this.#rosterPath, last.head.roster)?.all() ?? {};
    for (const key of [...went, ...came.map(([key]) => key)]) delete all[key];
    return writeRoster(this.#rosterPath, { ...all, ...Object.fromEntries(came) });
  }

  /** The sets of peers of the table that had this marker. */
  readPeers(marker: number): Peers | undefined {
    return peersIn(readText(`${this.#stem}.peers`), marker);
  }

  writePeers(peers: Peers): void {
    replaceFile(`${this.#stem}.peers`, peersText(peers));
  }

  /** The manifests that the table was made from. */
  readApplied(): Kept {
    const text = readText(`${this.#stem}.applied`);
    if (!this.#applied || this.#applied.text !== text) this.#applied = { text, kept: keptIn(text) };
    return this.#applied.kept;
  }

  writeApplied(kept: Kept): void {
    writeKept(`${this.#stem}.applied`, kept);
  }

  /** When the last pod has gone; the lock, which its caller holds, goes last. */
  removeAll(): void {
    for (const kind of ['node', 'pods', 'peers', 'applied']) rmSync(`${this.#stem}.${kind}`, { force: true });
    rmSync(this.lockPath, { force: true });
    this.#last = undefined;
  }
}

/** Undefined where a line is not what we write: somebody else's hand, or a disk that failed. */
function understood<T>(work: () => T): T | undefined {
  try {
    return work();
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}
