/** The node's store as files in the runtime folder, by network namespace. */

import { existsSync, fstatSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { Judging } from '../gate/judging.ts';
import type { LocalPod, NodeState, Owner } from '../gate/node-state.ts';
import type { PodCounts } from '../gate/pod-counts.ts';
import { type FileLock, lock } from '../kernel/flock.ts';
import { monotonic } from '../kernel/monotonic.ts';
import type { NetnsIdentity } from '../kernel/netns.ts';
import type { RulesIndex } from '../policy/compile/rules-index.ts';
import { asideOf, FileMemory, parseJson, readText, replaceFile, stampOf, writeJson } from '../state/atomic.ts';
import { doing, doingLater, StateError } from '../state/error.ts';
import { clearTheWay, isInTheWay } from '../state/in-the-way.ts';
import { makeFolders } from '../state/make-folders.ts';
import { sealed, unsealed } from '../state/sealed.ts';
import { judgingIn, judgingText } from './judging-file.ts';
import type { Concern, NodeRecord, NodeStore } from './node-store.ts';
import { differenceOf, type Extent, type JournalPods, PodJournal, type PodsChange } from './pod-journal.ts';
import { type Kept, keptIn } from './policy-folder.ts';
import { gatesIndexIn, gatesIndexText, setsIn, setsText } from './rules-file.ts';
import { isNodeHead } from './shapes.ts';

/** The state without its pods, and what is true of all of them together. */
export interface NodeHead extends Omit<NodeRecord, 'state'> {
  readonly state: Omit<NodeState, 'pods' | 'counts'>;
  readonly roster: Extent;
  /** Releases before NAT was asked on demand did not count pods with hostPorts. */
  readonly counts: Omit<PodCounts, 'mapped'> & Partial<Pick<PodCounts, 'mapped'>>;
}

/** The record that was read or written last: the next one is written as the difference. */
interface Last {
  readonly head: NodeHead;
  readonly pods: NodeState['pods'];
  /** These are all. */
  readonly isWhole: boolean;
}

/**
 * Looks, a millisecond apart, of a reader without the lock: at files that do not go together, since a writer that has
 * written one of the two may not run for a while on a busy machine; and at one that has no other.
 */
const LOOKS = { mismatched: 1000, alone: 10 } as const;
/** To be counted up wherever the shape of `NodeHead` changes. */
const HEAD_FORMAT = 'node 2';
/** Files that hold as long as the record says so. */
const BESIDE = ['pods', 'sets', 'rules', 'judging'];
/** Lines of pods that are gone, beside as many as there are pods, before the roster is written anew. */
const SLACK = 64;

/** A record that an earlier release wrote is not sealed, and must have the whole shape. */
function headIn(text: string | undefined): NodeHead | undefined {
  const own = unsealed<NodeHead>(HEAD_FORMAT, text);
  if (own) return own;
  const found = parseJson(text);
  return found.kind === 'value' && isNodeHead(found.value) ? found.value : undefined;
}

const mappedIn = (roster: JournalPods): number =>
  Object.values(roster.all()).filter(({ hostPorts }) => hostPorts.length > 0).length;

/** @param pods all of them, or those that are concerned */
function recordOf({ roster: _, counts, ...head }: NodeHead, roster: JournalPods, pods: NodeState['pods']): NodeRecord {
  const mapped = counts.mapped ?? mappedIn(roster);
  return { ...head, state: { ...head.state, pods, counts: { ...counts, mapped } } };
}

export class DiskNodeStore implements NodeStore {
  readonly #runDir: string;
  readonly #stem: string;
  /**
   * Where the head is the same, the journal is, too. Should a head's file look the same and be another, its marker would be
   * wrong, and the kernel would refuse a commit that is made from it.
   */
  readonly #heads = new FileMemory(headIn);
  readonly #judging = new FileMemory(judgingIn);
  readonly #applied = new FileMemory(keptIn);
  readonly #journal: PodJournal;
  #whole: { readonly head: NodeHead; readonly record: NodeRecord } | undefined;
  #last: Last | undefined;

  constructor(runDir: string, here: NetnsIdentity) {
    this.#runDir = runDir;
    this.#stem = join(runDir, String(here.ino));
    this.#journal = new PodJournal(this.#path('pods'));
  }

  #path(kind: string): string {
    return `${this.#stem}.${kind}`;
  }

  /**
   * One at a time in this network namespace. The file may have been removed by its last holder while we waited, so what was
   * locked must still be what others will lock.
   * @throws LockTimeoutError, StateError
   */
  async lock(timeoutMs: number, signal?: AbortSignal): Promise<FileLock> {
    const end = monotonic() + timeoutMs;
    for (;;) {
      const held = await this.#lockOnce(end, signal);
      if (statSync(this.#path('lock'), { throwIfNoEntry: false })?.ino === fstatSync(held.fd).ino) return held;
      held[Symbol.dispose]();
    }
  }

  async #lockOnce(end: number, signal: AbortSignal | undefined): Promise<FileLock> {
    const path = this.#path('lock');
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

  owner(): Owner | undefined {
    return this.#readHead()?.state.owner;
  }

  folder(): string | undefined {
    return this.#readHead()?.folder;
  }

  #readHead(): NodeHead | undefined {
    return this.#heads.read(this.#path('node'));
  }

  /** Undefined where there is none, or none that can be read: then the kernel and the records tell. */
  read(): NodeRecord | undefined {
    // With 1,000 pods it takes milliseconds to parse.
    const whole = this.#whole;
    if (whole && whole.head === this.#readHead()) return whole.record;
    return this.#consistent((head, roster) => {
      const pods = roster.all();
      const record = recordOf(head, roster, pods);
      this.#last = { head, pods, isWhole: true };
      this.#whole = { head, record };
      return record;
    });
  }

  readConcerned(concerns: readonly Concern[]): NodeRecord | undefined {
    return this.#consistent((head, roster) => {
      if (head.state.leaving || head.state.uncut) return undefined;
      const known = concerns.flatMap(({ key }) => {
        const pod = roster.find(key);
        return pod ? [[key, pod] as const] : [];
      });
      const coming = concerns.flatMap(concern => concern.coming ?? []);
      const sharing = roster.sharing([...known.map(([, pod]) => pod), ...coming]);
      const pods = Object.fromEntries([...sharing, ...known]);
      this.#last = { head, pods, isWhole: false };
      return recordOf(head, roster, pods);
    });
  }

  /** The pod of this key, without a look at the others. */
  find(key: string): LocalPod | undefined {
    const whole = this.#whole;
    if (whole && whole.head === this.#readHead()) return whole.record.state.pods[key];
    return this.#consistent((_, roster) => roster.find(key));
  }

  /** The result of `understand` on head and journal, where these go together. */
  #consistent<T>(understand: (head: NodeHead, pods: JournalPods) => T): T | undefined {
    this.#last = undefined;
    this.#whole = undefined;
    let seen: NodeHead | undefined;
    for (let looks = 0; ; looks++) {
      const head = this.#readHead();
      if (!head) return undefined;
      // A writer that goes on writing is no reason to give up.
      if (head !== seen) looks = 0;
      seen = head;
      const found = understood(() => {
        const roster = this.#journal.read(head.roster);
        return roster && { meaning: understand(head, roster) };
      });
      if (found === 'garbage') return undefined;
      if (found) return found.meaning;
      if (looks >= (existsSync(this.#path('pods')) ? LOOKS.mismatched : LOOKS.alone)) return undefined;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1);
    }
  }

  /** Changes whenever one of the files does. */
  stamp(): string {
    return ['node', 'applied'].map(kind => stampOf(this.#path(kind))).join(' ');
  }

  /**
   * The state that is in force now: after what this object read or wrote last, if it did, under the same lock.
   * @throws StateError; then the files are as they were, as far as they count
   */
  write(record: NodeRecord): void {
    const { state, ...rest } = record;
    const { pods, counts, ...others } = state;
    const isWhole = this.#last?.isWhole ?? true;
    const difference = differenceOf(this.#last?.pods ?? {}, pods);
    const roster = this.#enrol(difference, counts, pods);
    const head: NodeHead = { ...rest, state: others, roster, counts };
    try {
      replaceFile(this.#path('node'), sealed(HEAD_FORMAT, head));
    } catch (error) {
      this.#journal.forget();
      throw error;
    }
    this.#heads.learn(this.#path('node'), head);
    this.#whole = isWhole ? { head, record } : undefined;
    this.#last = { head, pods, isWhole };
  }

  #enrol(difference: PodsChange, { pods: number }: PodCounts, pods: NodeState['pods']): Extent {
    const last = this.#last;
    if (!last) return this.#journal.replace(pods);
    const { came, went } = difference;
    if (came.length + went.length === 0) return last.head.roster;
    if (last.head.roster.lines + came.length + went.length <= 2 * number + SLACK)
      return this.#journal.extend(last.head.roster, difference);
    // `pods` may be but those that are concerned.
    const all = this.#journal.read(last.head.roster)?.all() ?? {};
    for (const key of [...went, ...came.map(([key]) => key)]) delete all[key];
    return this.#journal.replace({ ...all, ...Object.fromEntries(came) });
  }

  /**
   * As if nothing had ever been written, but for the manifests: the node is found again from records and links. It takes no
   * space, and what no longer holds must not stay.
   */
  forget(): void {
    for (const kind of ['node', ...BESIDE]) clearTheWay(this.#path(kind));
    this.#journal.forget();
    this.#last = undefined;
    this.#whole = undefined;
  }

  readIndex(marker: number | undefined): RulesIndex | undefined {
    const sets = marker === undefined ? undefined : setsIn(marker, readText(this.#path('sets')));
    return sets && { ...sets, gates: () => gatesIndexIn(marker!, readText(this.#path('rules'))) };
  }

  writeIndex(marker: number, index: RulesIndex): void {
    const gates = index.gates();
    if (!gates) return;
    replaceFile(this.#path('sets'), setsText(marker, index));
    replaceFile(this.#path('rules'), gatesIndexText(marker, gates));
  }

  findJudging(marker: number | undefined): Judging | undefined {
    const found = marker === undefined ? undefined : this.#judging.read(this.#path('judging'));
    return found?.marker === marker ? found : undefined;
  }

  writeJudging(judging: Judging): void {
    replaceFile(this.#path('judging'), judgingText(judging));
    this.#judging.learn(this.#path('judging'), judging);
  }

  readApplied(): Kept {
    return this.#applied.read(this.#path('applied'));
  }

  writeApplied(kept: Kept): void {
    writeJson(this.#path('applied'), kept);
    this.#applied.learn(this.#path('applied'), kept);
  }

  /** When the last pod has gone; the lock, which its caller holds, goes last. */
  removeAll(): void {
    const files = ['node', ...BESIDE, 'applied'].map(kind => this.#path(kind));
    for (const file of files.flatMap(path => [path, asideOf(path)])) clearTheWay(file);
    clearTheWay(this.#path('lock'));
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
