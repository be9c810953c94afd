/** What a call finds of the node's state without asking the kernel, in the runtime folder, by network namespace. */

import { existsSync, fstatSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { LocalPod, NodeState } from '../gate/node-state.ts';
import { type FileLock, lock } from '../kernel/flock.ts';
import { monotonic } from '../kernel/monotonic.ts';
import type { NetnsIdentity } from '../kernel/netns.ts';
import { asideOf, FileMemory, parseJson, stampOf, writeJson } from '../state/atomic.ts';
import { doing, doingLater, StateError } from '../state/error.ts';
import { clearTheWay, isInTheWay } from '../state/in-the-way.ts';
import { makeFolders } from '../state/make-folders.ts';
import { type Kept, readKept, writeKept } from './folder.ts';
import { findJudging, type Judging, type Sizes, writeJudging } from './in-force.ts';
import { type Peers, readPeers, writePeers } from './peers.ts';
import {
  differenceOf,
  type Extent,
  extendRoster,
  forgetRoster,
  type PodsChange,
  type Roster,
  readRoster,
  writeRoster,
} from './roster.ts';
import { counted, noCounts, type PodCounts, standIns } from './stand-in.ts';
import { isNodeHead } from './written.ts';

/** The state that the table goes with: the two have one marker. */
export interface NodeFile {
  readonly marker: number;
  /** The oldest of the markers that are still in the table, where that is not the only one. */
  readonly since?: number;
  /** Stamps of the manifests that the table was made from: those in the other file, unless its writer died in between. */
  readonly folder: string;
  /** The marker that the sets of peers are kept under, where they are. */
  readonly peers?: number;
  /**
   * The generation of the network namespace's nftables that the last batch made, where the table was what the state asks for by
   * then: while it is the same, it still is.
   */
  readonly generation?: number;
  /** `gateDigest` of the static chains that are in the table. */
  readonly gate?: string;
  /** The marker that the handles of chains and rules are kept under, where they are. */
  readonly judging?: number;
  /** By how much sets have grown since those were written. */
  readonly resized?: Sizes;
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

/**
 * Looks, a millisecond apart, of a reader without the lock: at files that do not go together, since a writer that has
 * written one of the two may not run for a while on a busy machine; and at one that has no other.
 */
const LOOKS = { mismatched: 1000, alone: 10 } as const;
/** Lines of pods that are gone, beside as many as there are pods, before the roster is written anew. */
const SLACK = 64;

function headIn(text: string | undefined): NodeHead | undefined {
  const found = parseJson(text);
  return found.kind === 'value' && isNodeHead(found.value) ? withoutFreed(found.value) : undefined;
}

/** States that were written before numbers went round list all that were in use once: one more for each identity that went. */
function withoutFreed(head: NodeHead): NodeHead {
  const { freed: _, ...state }: NodeHead['state'] & { readonly freed?: unknown } = head.state;
  return { ...head, state };
}

/**
 * Of a head that is the same the roster is, too. Should its file ever look the same and be another, the kernel refuses what
 * is made of it, by its marker.
 */
const heads = new FileMemory(headIn);

const fileOf = ({ roster: _, counts: __, ...head }: NodeHead, pods: NodeState['pods']): NodeFile => ({
  ...head,
  state: { ...head.state, pods },
});

export class NodeFiles {
  readonly #runDir: string;
  readonly #stem: string;
  #whole: { readonly head: NodeHead; readonly file: NodeFile } | undefined;
  #last: Last | undefined;

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
    const end = monotonic() + deadline;
    for (;;) {
      const held = await this.#lockOnce(end, signal);
      if (statSync(this.lockPath, { throwIfNoEntry: false })?.ino === fstatSync(held.fd).ino) return held;
      held[Symbol.dispose]();
    }
  }

  async #lockOnce(end: number, signal: AbortSignal | undefined): Promise<FileLock> {
    const path = this.lockPath;
    const locked = () => doingLater('lock', path, () => lock(path, Math.max(0, end - monotonic()), signal));
    try {
      return await locked();
    } catch (error) {
      if (!(error instanceof StateError)) throw error;
      if (isInTheWay(error.code)) clearTheWay(path);
      else if (error.code !== 'ENOENT') throw error;
    }
    doing('make folder', this.#runDir, () => makeFolders(this.#runDir));
    return await locked();
  }

  /** All but the pods; undefined as for `read`. */
  readHead(): NodeHead | undefined {
    return heads.read(this.#headPath);
  }

  /** Undefined where there is none, or none that can be read: then the kernel and the records tell. */
  read(): NodeFile | undefined {
    // With 1,000 pods it takes milliseconds to parse.
    const whole = this.#whole;
    if (whole && whole.head === this.readHead()) return whole.file;
    return this.#consistent((head, roster) => {
      const pods = roster.all();
      const file = fileOf(head, pods);
      this.#last = { head, pods };
      this.#whole = { head, file };
      return file;
    });
  }

  /**
   * As `read`, but with the pods only that a change of this one concerns: it, those that have an address of its or a port of
   * the node, and for all others one of each identity and way of masquerading. Costs nearly the same whatever their number.
   * Undefined also where only the whole state will do.
   */
  readConcerned({ key, coming }: Concern): NodeFile | undefined {
    return this.#consistent((head, roster) => {
      const own = roster.find(key);
      const concerned = roster.sharing([own, coming].flatMap(pod => pod ?? []));
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
    return this.#consistent((_, roster) => roster.find(key));
  }

  /** What is made of the two files where they go together. */
  #consistent<T>(understand: (head: NodeHead, roster: Roster) => T): T | undefined {
    this.#last = undefined;
    this.#whole = undefined;
    let seen: NodeHead | undefined;
    for (let looks = 0; looks < (existsSync(this.#rosterPath) ? LOOKS.mismatched : LOOKS.alone); looks++) {
      const head = this.readHead();
      if (!head) return undefined;
      // A writer that goes on writing is no reason to give up.
      if (head !== seen) looks = 0;
      seen = head;
      const found = understood(() => {
        const roster = readRoster(this.#rosterPath, head.roster);
        return roster && { meaning: understand(head, roster) };
      });
      if (found === 'garbage') return undefined;
      if (found) return found.meaning;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1);
    }
    return undefined;
  }

  /** Changes whenever one of the files does. */
  stamp(): string {
    return ['node', 'applied'].map(kind => stampOf(`${this.#stem}.${kind}`)).join(' ');
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
    try {
      writeJson(this.#headPath, head);
    } catch (error) {
      forgetRoster();
      throw error;
    }
    heads.learn(this.#headPath, head);
    this.#whole = undefined;
    this.#last = { head, pods };
  }

  #enrol(difference: PodsChange, { pods: number }: PodCounts, pods: NodeState['pods']): Extent {
    const last = this.#last;
    if (!last) return writeRoster(this.#rosterPath, pods);
    const { came, went } = difference;
    if (came.length + went.length === 0) return last.head.roster;
    if (last.head.roster.lines + came.length + went.length <= 2 * number + SLACK)
      return extendRoster(this.#rosterPath, last.head.roster, difference);
    // `pods` may be but those that are concerned.
    const all = readRoster(this.#rosterPath, last.head.roster)?.all() ?? {};
    for (const key of [...went, ...came.map(([key]) => key)]) delete all[key];
    return writeRoster(this.#rosterPath, { ...all, ...Object.fromEntries(came) });
  }

  /**
   * As if nothing had ever been written, but for the manifests: the node is found again from records and links. It takes no
   * space, and what no longer holds must not stay.
   */
  forget(): void {
    for (const kind of ['node', 'pods', 'peers', 'judging']) clearTheWay(`${this.#stem}.${kind}`);
    forgetRoster();
    this.#last = undefined;
    this.#whole = undefined;
  }

  /** The sets of peers of the table that had this marker. */
  readPeers(marker: number): Peers | undefined {
    return readPeers(`${this.#stem}.peers`, marker);
  }

  writePeers(peers: Peers): void {
    writePeers(`${this.#stem}.peers`, peers);
  }

  /** By what the kernel calls the parts of the table that judge, as written with this marker. */
  findJudging(marker: number | undefined): Judging | undefined {
    return findJudging(`${this.#stem}.judging`, marker);
  }

  writeJudging(judging: Judging): void {
    writeJudging(`${this.#stem}.judging`, judging);
  }

  /** The manifests that the table was made from. */
  readApplied(): Kept {
    return readKept(`${this.#stem}.applied`);
  }

  writeApplied(kept: Kept): void {
    writeKept(`${this.#stem}.applied`, kept);
  }

  /** When the last pod has gone; the lock, which its caller holds, goes last. */
  removeAll(): void {
    const files = ['node', 'pods', 'peers', 'judging', 'applied'].map(kind => `${this.#stem}.${kind}`);
    for (const file of files.flatMap(path => [path, asideOf(path)])) clearTheWay(file);
    clearTheWay(this.lockPath);
    this.#last = undefined;
  }
}

/** A line may not be what we write: a person's doing, or a disk that failed. */
function understood<T>(work: () => T): T | 'garbage' {
  try {
    return work();
  } catch (error) {
    if (error instanceof SyntaxError) return 'garbage';
    throw error;
  }
}
