/**
 * The node's table and the file that goes with it, brought from one state to another: under the node's lock, by one batch.
 *
 * What the table holds is known from the file, without a look at the kernel: the batch takes away the marker that the file
 * names and puts a new one in (or, where it only adds, puts in the one that comes next), so if anybody else has changed the
 * table since, or it is gone, the kernel refuses the whole batch, and only then is the table read and compared.
 */
import { CniError, codes } from '../cni/error.ts';
import { type GateSettings, gateDigest, isJudged, markerSet } from '../gate/chains.ts';
import { withoutPodIn } from '../gate/closing.ts';
import { desiredTable, parseOwner, TABLE, TABLE_NAME } from '../gate/desired.ts';
import { type Judged, type Judging, resizedBy } from '../gate/judging.ts';
import { createMarker, fromHere, MARKERS, markersOf, nextMarker, replaceMarkers } from '../gate/marker.ts';
import {
  emptyNode,
  type IsCarried,
  joined,
  type LocalPod,
  type NodeState,
  type Owner,
  podKey,
  relabelled,
  withoutPod,
} from '../gate/node-state.ts';
import { emptyRuleset, identitiesOfNode, rulesetOfNode } from '../gate/node-world.ts';
import { partsOf } from '../gate/parts.ts';
import { policiesRefused } from '../gate/refused.ts';
import { addressesOf, type CutScope, shrunkBetween } from '../gate/shrunk.ts';
import { type Nft, NftError, nextGeneration } from '../kernel/nft.ts';
import { waitForRcuGracePeriod } from '../kernel/rcu.ts';
import { type DiffOptions, diff } from '../nft/diff.ts';
import type { NamedSet, Table } from '../nft/model.ts';
import type { Operation, Transaction } from '../nft/transaction.ts';
import type { Concern, NodeRecord, NodeStore } from '../nodestore/node-store.ts';
import { peersOf, rulesetsOfPeers } from '../nodestore/peers.ts';
import { type Kept, podManifestsOf, worldAbout } from '../nodestore/policy-folder.ts';
import type { Ruleset } from '../policy/compile/ruleset.ts';
import { isFull } from '../state/error.ts';
import { commitCompared } from './compared.ts';
import { isInForce, judgingAfter, readJudging } from './in-force.ts';
import { openNewcomer, withTags } from './newcomer.ts';

export interface NodeTableOptions {
  readonly store: NodeStore;
  readonly owner: Owner;
  readonly settings: GateSettings;
  readonly nft: () => Nft;
  readonly log: (line: string) => void;
  /** Pods that are plugged in here by their attachments' records, for when the file is gone. */
  readonly recover: (owner: Owner) => NodeState['pods'];
  readonly isCarried: IsCarried;
  /** Gives the pod's link its tag, wherever it is by now. */
  readonly retag: (pod: LocalPod) => void;
}

/** One state, with the manifests that it is judged by. */
export interface Goal {
  readonly state: NodeState;
  readonly kept: Kept;
}

/** A table that is known to be what the file tells. */
interface Known {
  readonly goal: Goal;
  /** Those that are in the table; the last one is the file's. */
  readonly markers: readonly number[];
  /** At which it was so; undefined where other programs' commits kept coming. */
  readonly generation: number | undefined;
}

/** What the table is known to be, without a whole look at it. */
interface Standing {
  readonly generation: number;
  /** Nobody has committed anything since the file was written. False: what judges certain pods is in force. */
  readonly isWhole: boolean;
}

/** What a commit came to. */
interface Committed {
  readonly goal: Goal;
  readonly generation: number | undefined;
}

/** What policies speak of: gates and sets of peers, whose names end in a hash. */
const isPolicys = ({ name }: NamedSet): boolean => name.endsWith('_by_tag') || name.includes('-');
/** One deny may take the place of another, so no packet may see half of each. */
export const policySets: DiffOptions = { renew: isPolicys };

/** A new set holds pods that were there before. */
const makesSet = ({ object, verb }: Operation): boolean => object === 'set' && verb !== 'delete' && verb !== 'destroy';

export interface Brought {
  readonly before: Goal;
  readonly after: Goal;
  /** False where nothing had to change. */
  readonly isChanged: boolean;
  /** The manifests are others than before. */
  readonly isNews: boolean;
  /** By so many operations another program had made the table differ from what it should have been; it is put right. */
  readonly drift: number;
}

export interface BringOptions {
  readonly kept: Kept;
  /** A pod that goes is let go whatever the configuration says by now: the table's own owner and settings stay. */
  readonly asFound?: boolean;
  /** The change is to this pod and to no other. */
  readonly only?: Concern;
}

const describeOwner = ({ enforcer, stateDir, policies }: Owner): string =>
  `enforcer ${enforcer}, stateDir ${stateDir}, policies ${policies}`;

const isSame = (a: GateSettings, b: GateSettings): boolean => JSON.stringify(a) === JSON.stringify(b);

export function refuseOtherOwner(owner: Owner, found: Owner | undefined): void {
  if (!found || describeOwner(found) === describeOwner(owner)) return;
  throw new CniError(
    codes.invalidConfig,
    `Cannot share this node's table: it belongs to ${describeOwner(found)}; this network says ${describeOwner(owner)}`,
    'one network namespace has one enforcer: make the configurations agree, or delete the pods of the other first',
  );
}

export const ownerIn = (table: Table | undefined): Owner | undefined =>
  table?.comment === undefined ? undefined : parseOwner(table.comment);

/** The kernel's word that the table is not, or may not be, the one that the file goes with. */
export const isStale = (error: unknown): boolean =>
  error instanceof NftError &&
  error.refusals.some(({ code }) => code === 'ENOENT' || code === 'EEXIST' || code === 'ERESTART');

/** The fields of the file that it has. */
const copyOf = <K extends keyof NodeRecord>(file: NodeRecord, fields: readonly K[]): Pick<NodeRecord, K> =>
  Object.fromEntries(fields.flatMap(field => (file[field] === undefined ? [] : [[field, file[field]]]))) as Pick<
    NodeRecord,
    K
  >;

const isAddition = ({ verb }: Operation): boolean => verb === 'add' || verb === 'create';

/** Of all pods whose gates are in the tables of these states. */
const namespacesOf = (...states: readonly NodeState[]): ReadonlySet<string> =>
  new Set(states.flatMap(state => identitiesOfNode(state).map(({ identity }) => identity.namespace)));

const isEmpty = ({ counts }: NodeState): boolean => counts.pods === 0;

/** Files are told apart by their stamps, so parsed documents need no comparison. */
const stamps = (kept: Kept): string => JSON.stringify(Object.entries(kept).map(([name, { stamp }]) => [name, stamp]));

/** Pods as they were that get another identity. */
export const leavingBetween = (before: NodeState, after: NodeState): readonly LocalPod[] =>
  Object.entries(after.pods).flatMap(([key, pod]) => {
    const earlier = before.pods[key];
    return earlier && earlier.tag !== pod.tag && earlier.tag !== 0 ? [earlier] : [];
  });

/** Where pods change their identity: the goal with the entries of both, since in between their links have either tag. */
function halfwayTo(before: Goal, after: Goal): Goal | undefined {
  const leaving = leavingBetween(before.state, after.state);
  return leaving.length === 0 ? undefined : { ...after, state: { ...after.state, leaving } };
}

/** Pods of which the links carry another tag than the state gives them, with that one. */
export const mistagged = (open: NodeState['pods'], { pods }: NodeState): LocalPod[] =>
  Object.entries(open).flatMap(([key, { tag }]) => {
    const pod = pods[key];
    return pod && pod.tag !== tag ? [pod] : [];
  });

/** Whether what is allowed to pods that were there before may shrink: other manifests, or a pod with other labels. */
function toBeCut(before: Goal, after: Goal, isNews: boolean): Goal {
  const earlier = Object.entries(before.state.pods);
  const mayShrink = earlier.some(([key, pod]) => isNews || (after.state.pods[key]?.tag ?? pod.tag) !== pod.tag);
  return mayShrink ? { ...after, state: { ...after.state, uncut: true } } : after;
}

export class NodeTable {
  readonly #options: NodeTableOptions;
  readonly #store: NodeStore;
  /** Why the state that is in force could not be written down. */
  #unkept: unknown;
  readonly #rulesets = new WeakMap<NodeState, { readonly kept: Kept; readonly ruleset: Ruleset }>();

  constructor(options: NodeTableOptions) {
    this.#options = options;
    this.#store = options.store;
  }

  /** @throws LockTimeoutError */
  lock(deadline: number, signal?: AbortSignal): Promise<Disposable> {
    return this.#store.lock(deadline, signal);
  }

  /** A moment's view, without the lock. */
  peek(): NodeRecord | undefined {
    return this.#store.read();
  }

  /** A moment's view of one pod, without the lock. */
  find(key: string): LocalPod | undefined {
    return this.#store.find(key);
  }

  /** Whose the state file is, without a look at the kernel. */
  recordedOwner(): Owner | undefined {
    return this.#store.owner();
  }

  /** Changes whenever what `peek` or `readApplied` gives does. */
  stamp(): string {
    return this.#store.stamp();
  }

  /** The manifests that the table was last made from. */
  readApplied(): Kept {
    return this.#store.readApplied();
  }

  /** Whether these are they. */
  isApplied(kept: Kept): boolean {
    const applied = this.readApplied();
    return applied === kept || stamps(applied) === stamps(kept);
  }

  /** The table as the kernel has it. */
  read(): Table | undefined {
    return this.#options.nft().readTable('inet', TABLE);
  }

  /** Whose this network namespace is; undefined where there is no table of ours. */
  owner(): Owner | undefined {
    return this.recordedOwner() ?? ownerIn(this.read());
  }

  ruleset({ state, kept }: Goal): Ruleset {
    if (!isJudged(state.settings)) return emptyRuleset;
    const known = this.#rulesets.get(state);
    if (known?.kept === kept) return known.ruleset;
    const ruleset = rulesetOfNode(worldAbout(kept, namespacesOf(state)), state);
    this.#rulesets.set(state, { kept, ruleset });
    return ruleset;
  }

  /** Of two goals with the same manifests, which are understood once. */
  #rulesetsOf(before: Goal, after: Goal): readonly [Ruleset, Ruleset] {
    worldAbout(after.kept, namespacesOf(before.state, after.state));
    return [this.ruleset(before), this.ruleset(after)];
  }

  #desired(goal: Goal, ...markers: readonly number[]): Table {
    return desiredTable(goal.state, markers, this.ruleset(goal));
  }

  /** Without its file, the node is found again from the records and the links. */
  #start(asFound: boolean): NodeState {
    const { settings, recover, isCarried } = this.#options;
    const found = ownerIn(this.read());
    const owner = asFound && found ? found : this.#options.owner;
    refuseOtherOwner(owner, found);
    return joined(emptyNode(owner, settings), recover(owner), isCarried);
  }

  /**
   * Brings table and file to what `change` makes of the state; to be called under the lock.
   * @throws CniError code 7 for another owner, NftError where the kernel refuses, StateError where a pod comes and there is
   * no room to write it down
   */
  bring(change: (state: NodeState) => NodeState, options: BringOptions): Brought {
    this.#unkept = undefined;
    const brought = (options.only && this.#bringOne(change, options, options.only)) ?? this.#bringAll(change, options);
    if (this.#unkept && options.only?.coming) throw this.#unkept;
    return brought;
  }

  #bringAll(change: (state: NodeState) => NodeState, { kept, asFound = false }: BringOptions): Brought {
    const file = this.#store.read();
    if (!asFound) refuseOtherOwner(this.#options.owner, file?.state.owner);
    const applied = this.#store.readApplied();
    const isNews = stamps(applied) !== stamps(kept);
    // The same object where they say the same, so that they are understood only once.
    const before = { state: file?.state ?? this.#start(asFound), kept: isNews ? applied : kept };
    const changed = change(before.state);
    const settings = asFound && file ? file.state.settings : this.#options.settings;
    const isUnchanged = changed === before.state && isSame(settings, before.state.settings);
    const isDone = !before.state.leaving && !before.state.uncut;
    const found = file && this.#known(file, before);
    const known = typeof found === 'object' ? found : undefined;
    const drift = typeof found === 'number' ? found : 0;
    if (file && known && isUnchanged && !isNews && isDone) {
      if (known.generation !== file.generation)
        this.#writeState(file.marker, before, known.generation, copyOf(file, ['since', 'peers']));
      return { before, after: before, isChanged: false, isNews, drift };
    }
    const state = { ...this.#arrived(changed), settings, ...(isNews ? { refused: [] } : {}) };
    const goal = toBeCut(before, { state: isNews || !file ? this.#relabel(state, kept) : state, kept }, isNews);
    if (isEmpty(goal.state)) {
      this.#removeAll();
      return { before, after: goal, isChanged: true, isNews, drift };
    }
    const after = this.#write(known, nextMarker(file?.marker ?? Date.now() >>> 0), before, goal);
    if (isNews) this.#store.writeApplied(kept);
    return { before, after, isChanged: true, isNews, drift };
  }

  /**
   * `bring` for one pod on a node that needs nothing else, at a cost that does not grow with the number of pods. Undefined
   * where it takes more, or was not to be: nothing is done then.
   */
  #bringOne(
    change: (state: NodeState) => NodeState,
    { kept, asFound = false }: BringOptions,
    only: Concern,
  ): Brought | undefined {
    const file = this.#store.readConcerned(only);
    if (file?.folder !== stamps(kept)) return undefined;
    const { owner, settings } = this.#options;
    const isFor = describeOwner(file.state.owner) === describeOwner(owner) && isSame(file.state.settings, settings);
    if (!asFound && !isFor) return undefined;
    const before = { state: file.state, kept };
    const after = { state: change(file.state), kept };
    if (isEmpty(after.state) || halfwayTo(before, after)) return undefined;
    const isUnchanged = after.state === before.state;
    const peers = isUnchanged ? undefined : this.#knownPeers(file, before, after);
    const rulesets = peers ?? this.#rulesetsOf(before, after);
    const pod = after.state.pods[only.key] ?? before.state.pods[only.key];
    const standing = this.#standing(file, pod ? [pod] : [], rulesets[1]);
    if (!standing) return undefined;
    if (isUnchanged) return { before, after, isChanged: false, isNews: false, drift: 0 };
    const done = this.#commitOne(file, before, after, rulesets, standing);
    if (!done) return undefined;
    const marker = nextMarker(file.marker);
    const kind = peers
      ? this.#copyKind(file, done.operations, standing, peers[1])
      : this.#writeKind(file, after, done.operations, standing);
    this.#keep({
      ...{ marker, folder: file.folder, state: after.state, ...kind },
      ...(done.since === marker ? {} : { since: done.since }),
      ...(standing.isWhole ? { generation: nextGeneration(standing.generation) } : {}),
      ...copyOf(file, ['gate']),
    });
    return { before, after, isChanged: true, isNews: false, drift: 0 };
  }

  /** What is kept of an identity that is new here, or was the last of its kind: its sets of peers, and who judges it. */
  #writeKind(
    file: NodeRecord,
    after: Goal,
    operations: readonly Operation[],
    { generation, isWhole }: Standing,
  ): Pick<NodeRecord, 'peers' | 'judging'> {
    const marker = nextMarker(file.marker);
    const ruleset = this.ruleset(after);
    const nft = this.#options.nft();
    const now = nextGeneration(generation);
    const known = this.#store.findJudging(file.judging);
    const whole = isWhole ? () => readJudging(nft, now, marker, ruleset) : () => undefined;
    const resized = resizedBy(operations, file.resized);
    const judging = known ? judgingAfter(nft, now, marker, { operations, ruleset, known, resized }) : whole();
    return { ...this.#writePeers(marker, after), ...this.#writeJudging(judging) };
  }

  /**
   * Whether the table is the one that the file goes with: nobody has committed anything in this network namespace since, or
   * what judges these pods is what it was. Its marker alone would not tell.
   * @param tags those of the ruleset that the pods' identities may be new in
   */
  #standing(file: NodeRecord, pods: readonly Judged[], { tags }: Ruleset): Standing | undefined {
    const nft = this.#options.nft();
    const { settings } = file.state;
    const generation = nft.generation();
    if (!this.#isMarked(file) || file.gate !== gateDigest(settings)) return undefined;
    if (file.generation === generation) return { generation, isWhole: true };
    const known = this.#store.findJudging(file.judging);
    const expected = { settings, pods, coming: tags, resized: file.resized ?? {} };
    return known && isInForce(nft, { ...expected, known }) ? { generation, isWhole: false } : undefined;
  }

  /**
   * Where the identity stays whose pod comes or goes, so do chains and sets: what changes is who is in these. The same where it
   * is new and no policy selects it, but for its own entries.
   */
  #knownPeers({ peers: at, judging }: NodeRecord, before: Goal, after: Goal): readonly [Ruleset, Ruleset] | undefined {
    if (at === undefined || !isJudged(after.state.settings)) return undefined;
    const isStaying = before.state.tags === after.state.tags;
    // Who is new has to be written down, and there must be something to write it down in.
    if (!isStaying && !this.#store.findJudging(judging)) return undefined;
    const peers = this.#store.readPeers(at);
    if (!peers) return undefined;
    const about = (namespace: string) => worldAbout(after.kept, [namespace]);
    const tags = isStaying ? emptyRuleset.tags : openNewcomer(before.state, after.state, about);
    const rulesets = tags && rulesetsOfPeers(peers, before.state, after.state);
    return rulesets && [rulesets[0], { ...rulesets[1], tags }];
  }

  /** What is kept where all sets of peers stay. @param tags those that are new */
  #copyKind(
    file: NodeRecord,
    operations: readonly Operation[],
    { generation }: Standing,
    { tags }: Ruleset,
  ): Pick<NodeRecord, 'peers' | 'judging' | 'resized'> {
    const resized = resizedBy(operations, file.resized);
    if (tags.size === 0) return { ...copyOf(file, ['peers', 'judging']), resized };
    const known = this.#store.findJudging(file.judging)!;
    const step = { operations, ruleset: undefined, known: withTags(known, tags), resized };
    const judging = judgingAfter(this.#options.nft(), nextGeneration(generation), nextMarker(file.marker), step);
    return { ...copyOf(file, ['peers']), ...this.#writeJudging(judging) };
  }

  /** @returns what the state calls it by; nothing where there is none, or no room for it */
  #writeJudging(judging: Judging | undefined): Pick<NodeRecord, 'judging'> {
    if (!judging) return {};
    try {
      this.#store.writeJudging(judging);
    } catch (error) {
      if (!isFull(error)) throw error;
      return {};
    }
    return { judging: judging.marker };
  }

  /** @returns what the state calls them by; nothing where nobody is judged by them */
  #writePeers(marker: number, goal: Goal): Pick<NodeRecord, 'peers'> {
    if (!isJudged(goal.state.settings)) return {};
    try {
      this.#store.writePeers(peersOf(marker, this.ruleset(goal), worldAbout(goal.kept, namespacesOf(goal.state))));
    } catch (error) {
      if (!isFull(error)) throw error;
      return {};
    }
    return { peers: marker };
  }

  /**
   * Who takes anything out of a table waits for the kernel to let go of it, some ten milliseconds, as soon as it closes its
   * socket. So where a pod only adds, the markers of before stay for one to take out who has to wait anyway; that the last
   * of them is there was asked beforehand.
   * @returns the oldest marker that is in the table now, and what it took; undefined where nothing was done
   */
  #commitOne(
    file: NodeRecord,
    before: Goal,
    after: Goal,
    [was, is]: readonly [Ruleset, Ruleset],
    { generation }: Standing,
  ): { readonly since: number; readonly operations: readonly Operation[] } | undefined {
    const { marker, since = marker } = file;
    const to = nextMarker(marker);
    const have = desiredTable(before.state, marker, was);
    const step = diff(have, desiredTable(after.state, marker, is));
    if (step.operations.some(makesSet)) return undefined;
    const isQuick = step.operations.every(isAddition) && markersOf(file).length < MARKERS;
    const operations = isQuick
      ? [createMarker(to), ...step.operations]
      : [...replaceMarkers(markersOf(file), to), ...step.operations];
    try {
      if (!this.#commitIfKnown({ ...step, operations }, generation)) return undefined;
    } catch (error) {
      // Which policy it was that the kernel refused shows among all pods.
      if (error instanceof NftError) return undefined;
      throw error;
    }
    return { since: isQuick ? since : to, operations };
  }

  /**
   * Whether the file's marker is in the table, and none after it, which a call would have left that died between its batch and
   * its file.
   */
  #isMarked({ marker }: NodeRecord): boolean {
    const keys = [[marker], [nextMarker(marker)]];
    const [own, next] = this.#options.nft().lookUp(TABLE_NAME, markerSet, keys);
    return own !== undefined && next === undefined;
  }

  /** What a call that died had begun: its pods' new entries are in the table, their links may have the old tags. */
  #arrived({ leaving, ...state }: NodeState): NodeState {
    for (const { network, containerID, ifname } of leaving ?? []) {
      const pod = state.pods[podKey({ network, containerID, ifname })];
      if (pod) this.#options.retag(pod);
    }
    return state;
  }

  #relabel(state: NodeState, kept: Kept): NodeState {
    const manifests = podManifestsOf(kept);
    return relabelled(state, manifests, this.#options.isCarried);
  }

  /**
   * Pods that change their identity get the entry of the new one first, then its tag, and then the old entry goes: in
   * between, both are there.
   */
  #write(known: Known | undefined, marker: number, before: Goal, after: Goal): Goal {
    const both = halfwayTo(before, after);
    if (!both) return this.#writeOnce(known, marker, after).goal;
    const { goal: halfway, generation } = this.#writeOnce(known, marker, both);
    const { leaving: _, ...state } = halfway.state;
    this.#arrived(halfway.state);
    // Who began before the first batch must not meet the second: the kernel keeps rules of two generations, not of three.
    waitForRcuGracePeriod();
    const there = { goal: halfway, markers: [marker], generation };
    return this.#writeOnce(there, nextMarker(marker), { state, kept: after.kept }).goal;
  }

  /**
   * The table by its file, where it is what that says: nobody has committed anything since, or it was compared. Who died
   * between the two files left a table that only the kernel knows.
   * @returns a number: by so many operations the table differs from what the file says
   */
  #known(file: NodeRecord, before: Goal): Known | number | undefined {
    if (file.folder !== stamps(before.kept)) return undefined;
    const nft = this.#options.nft();
    const generation = nft.generation();
    const markers = markersOf(file);
    const isSame = file.generation === generation && file.gate === gateDigest(file.state.settings);
    if (isSame && this.#isMarked(file)) return { goal: before, markers, generation };
    const found = nft.read(TABLE_NAME);
    const { operations } = diff(found?.table, this.#desired(before, ...markers));
    return operations.length === 0 ? { goal: before, markers, generation: found?.generation } : operations.length;
  }

  /** From one known table to the next; for one pod that comes or goes, without a look at all the others. */
  #step({ goal: before, markers }: Known, after: Goal, to: number): Transaction {
    if (before.kept === after.kept) {
      const part = partsOf({ before: before.state, after: after.state });
      const have = this.#desired({ ...before, state: part.before }, ...markers);
      const step = diff(have, this.#desired({ ...after, state: part.after }, to));
      if (!step.operations.some(makesSet)) return fromHere(step);
    }
    const options = before.kept === after.kept ? {} : policySets;
    return fromHere(diff(this.#desired(before, ...markers), this.#desired(after, to), options));
  }

  /** The batches that `bring` would send for these manifests, one after the other. Nothing is changed, no file either. */
  plan(kept: Kept): readonly Transaction[] {
    const file = this.#store.read();
    const { owner, settings } = this.#options;
    refuseOtherOwner(owner, file?.state.owner);
    const before = { state: file?.state ?? this.#start(false), kept: this.#store.readApplied() };
    const { leaving, ...state } = before.state;
    const isSame = stamps(before.kept) === stamps(kept) && JSON.stringify(settings) === JSON.stringify(state.settings);
    const found = file && this.#known(file, before);
    const known = typeof found === 'object' ? found : undefined;
    if (known && isSame && !leaving) return [];
    const after = { state: this.#relabel({ ...state, settings, refused: [] }, kept), kept };
    const both = halfwayTo(before, after);
    const marker = nextMarker(file?.marker ?? Date.now() >>> 0);
    const first = this.#desired(both ?? after, marker);
    const have = known ? this.#desired(known.goal, ...known.markers) : this.read();
    const begins = diff(have, first, policySets);
    return both ? [begins, diff(first, this.#desired(after, nextMarker(marker)))] : [begins];
  }

  /** @param known the table by its file; undefined where only the kernel knows */
  #writeOnce(known: Known | undefined, marker: number, goal: Goal): Committed {
    const reached = this.#commit(goal, marker, known);
    this.#writeState(marker, reached.goal, reached.generation);
    return reached;
  }

  /** @param copied what of the file that this replaces still holds */
  #writeState(
    marker: number,
    goal: Goal,
    generation: number | undefined,
    copied: Pick<NodeRecord, 'since' | 'peers'> = {},
  ): void {
    const ruleset = this.ruleset(goal);
    const judging =
      generation === undefined ? undefined : readJudging(this.#options.nft(), generation, marker, ruleset);
    this.#keep({
      ...{ marker, folder: stamps(goal.kept), state: goal.state, gate: gateDigest(goal.state.settings) },
      ...(copied.peers === undefined ? this.#writePeers(marker, goal) : {}),
      ...copied,
      ...(generation === undefined ? {} : { generation }),
      ...this.#writeJudging(judging),
    });
  }

  /**
   * Writes down what is in the table now. To release what a pod holds takes no room: where there is none the files go, since
   * what they say no longer holds, and the node is found again from records and links.
   * @throws StateError where it cannot be written for another reason
   */
  #keep(file: NodeRecord): void {
    try {
      this.#store.write(file);
    } catch (error) {
      if (!isFull(error)) throw error;
      this.#unkept = error;
      this.#store.forget();
    }
  }

  /** A policy that the kernel refuses closes the pods that it selects, and no others. */
  #commit(goal: Goal, marker: number, known: Known | undefined): Committed {
    try {
      const { generation } = known ?? {};
      if (known && this.#commitIfKnown(this.#step(known, goal, marker), generation))
        return { goal, generation: generation === undefined ? undefined : nextGeneration(generation) };
      return this.#commitByComparison(goal, marker);
    } catch (error) {
      const { refused = [] } = goal.state;
      const more = error instanceof NftError ? policiesRefused(error, this.ruleset(goal)) : [];
      const all = [...new Set([...refused, ...more])];
      if (!(error instanceof NftError) || all.length === refused.length) throw error;
      this.#options.log(
        `The kernel refused ${more.join(', ')}, so the pods that it selects stay closed: ${error.message}`,
      );
      return this.#commit({ ...goal, state: { ...goal.state, refused: all } }, marker, known);
    }
  }

  /** False where the table is not what the file says, or may be another one since this generation. */
  #commitIfKnown(transaction: Transaction, generation: number | undefined): boolean {
    try {
      this.#options.nft().commit(transaction, generation === undefined ? {} : { generation });
      return true;
    } catch (error) {
      if (isStale(error)) return false;
      throw error;
    }
  }

  /**
   * Somebody else had the table meanwhile: pods that he plugged in are found by their records, and stay in it. What the
   * pods that were open could do then, nobody knows. A link whose tag is not its pod's gets it once the table knows it.
   */
  #commitByComparison(goal: Goal, marker: number): Committed {
    const { recover, isCarried, retag } = this.#options;
    const open = recover(goal.state.owner);
    const state = joined(goal.state, open, isCarried);
    const whole = { ...goal, state: Object.keys(open).length > 0 ? { ...state, uncut: 'everywhere' as const } : state };
    const want = this.#desired(whole, marker);
    const { generation } = commitCompared(this.#options.nft(), have => {
      refuseOtherOwner(goal.state.owner, ownerIn(have?.table));
      return diff(have?.table, want, policySets);
    });
    for (const pod of mistagged(open, state)) retag(pod);
    return { goal: whole, generation };
  }

  /**
   * Takes the pod out of the agent's table without the agent, whose policies nobody else knows. To be called under the lock.
   * @throws NftError EPERM where the agent lives and holds its table
   */
  close(key: string): void {
    const file = this.#store.read();
    const before = file?.state ?? this.#start(true);
    const pod = before.pods[key];
    if (!pod) return;
    const state = withoutPod(before, key);
    if (isEmpty(state)) {
      this.#removeAll();
      return;
    }
    const marker = nextMarker(file?.marker ?? Date.now() >>> 0);
    const have = this.read();
    if (have) {
      const isLast = !Object.values(state.pods).some(({ tag }) => tag === pod.tag);
      this.#options.nft().commit(diff(have, withoutPodIn(have, pod, { isLast, marker })));
    }
    this.#keep({ marker, folder: file?.folder ?? '', state });
  }

  /** The last pod has gone: nothing of ours is left on the node. */
  #removeAll(): void {
    const operations = [{ verb: 'delete', object: 'table' }] as const;
    if (this.read()) this.#options.nft().commit({ family: 'inet', table: TABLE, operations });
    this.#store.removeAll();
  }

  /** What would have to change for the table to be what the file says. */
  drift(): readonly Operation[] {
    const file = this.#store.read();
    // What the agent's table should hold only the agent knows.
    if (!file || file.state.settings.judge === 'agent') return [];
    const goal = { state: file.state, kept: this.#store.readApplied() };
    return diff(this.read(), this.#desired(goal, ...markersOf(file))).operations;
  }

  /**
   * Puts back what somebody else changed, and forgets pods that `isGone` says are no more.
   * @returns the operations that it took
   */
  mend(isGone: (key: string) => boolean): readonly Operation[] {
    const file = this.#store.read();
    if (!file) return [];
    const state = Object.keys(file.state.pods).filter(isGone).reduce(withoutPod, file.state);
    if (isEmpty(state)) {
      this.#removeAll();
      return [];
    }
    const goal = { state, kept: this.#store.readApplied() };
    const want = this.#desired(goal, ...markersOf(file));
    const { transaction, generation } = commitCompared(this.#options.nft(), have => diff(have?.table, want));
    const isMended = transaction.operations.length > 0;
    const mended = isMended ? { ...goal, state: { ...state, uncut: true as const } } : goal;
    this.#writeState(file.marker, mended, generation, copyOf(file, ['since']));
    return transaction.operations;
  }

  /** Whose connections may have been allowed before, and be forbidden now. */
  shrunkBy({ before, after }: Brought): CutScope {
    const isKnown = !before.state.uncut && after.state.uncut !== 'everywhere';
    if (!isKnown || !isSame(before.state.settings, after.state.settings)) return 'everywhere';
    const change = { before: this.ruleset(before), after: this.ruleset(after) };
    const leaving = addressesOf(leavingBetween(before.state, after.state));
    return [...leaving, ...shrunkBetween(change, Object.values(after.state.pods))];
  }

  /** The state in force, where its connections are yet to be looked at. */
  uncut(): Goal | undefined {
    const file = this.#store.read();
    return file?.state.uncut ? { state: file.state, kept: this.#store.readApplied() } : undefined;
  }

  /** To be called when they have been, under the same lock. */
  isCut(): void {
    const file = this.#store.read();
    if (!file?.state.uncut) return;
    const { uncut: _, ...state } = file.state;
    this.#keep({ ...file, state });
  }
}
