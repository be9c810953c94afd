/**
 * The policies folder: manifests of policies, and of the namespaces and pods that they speak of. Parsing YAML costs more
 * than everything else in a call together, so what was parsed is kept beside the node's state, file by file.
 */
import { type Declared, type Document, readDocuments, worldOf } from '../policy/manifest/manifest.ts';
import type { World } from '../policy/model/model.ts';
import type { Problem } from '../policy/model/problem.ts';
import { parseJson } from '../state/atomic.ts';
import { isAnything, isCount, isText, isTrue, listOf, mapOf, objectOf, optional } from '../state/shape.ts';
import { isNamespaceName, isObjectName } from '../tag/object-names.ts';
import { isStagedName, namesIn, PolicyFileError } from './folder-listing.ts';
import { ENOUGH, type FolderLook, goneWithAll, HOW_IT_COUNTS, type KeptFile, look } from './kept-file.ts';
import { lookAt } from './manifest-file.ts';

export type Kept = Readonly<Record<string, KeptFile>>;

export interface Folder {
  readonly path: string;
  readonly kept: Kept;
  /** Some file is not as it was kept. */
  readonly isChanged: boolean;
  /** Why the folder cannot be read, or is not believed: it counts as it was kept. */
  readonly damage?: string;
}

/** The same value where it is so already. */
const asStaged = (file: KeptFile): KeptFile =>
  file.documents?.some(({ isStaged }) => !isStaged)
    ? { ...file, documents: file.documents.map(document => ({ ...document, isStaged: true })) }
    : file;

/** The files of these names as they are now. */
async function filesOf(path: string, names: readonly string[], kept: Kept, how: FolderLook): Promise<Kept> {
  const files: [string, KeptFile][] = [];
  for (const name of names) {
    const file = `${path}/${name}`;
    const found = lookAt(file);
    if (!found) continue;
    const before = kept[name];
    const now = before?.stamp === found.stamp ? before : await look(file, found, before, how);
    files.push([name, isStagedName(name) ? asStaged(now) : now]);
  }
  return Object.fromEntries(files);
}

/** The last versions of the folder's files, where all are gone together and no caller has confirmed that. */
const goneOf = (kept: Kept, how: FolderLook): Kept =>
  Object.fromEntries(
    Object.entries(kept).flatMap(([name, before]) => {
      if (isStagedName(name)) return [];
      const gone = goneWithAll(before, how);
      return gone ? [[name, gone] as const] : [];
    }),
  );

/**
 * The folder as it is now; files that are as they were kept are not read again. A folder that is not there is empty. One that
 * cannot be read is as it was kept, and so is one that held objects and holds no manifest, until that is confirmed.
 * @throws PolicyFileError where the folder cannot be read, and nothing was kept of it
 */
export async function readFolder(path: string, kept: Kept, how: FolderLook = {}): Promise<Folder> {
  let names: readonly string[];
  try {
    names = namesIn(path);
  } catch (error) {
    if (!(error instanceof PolicyFileError) || Object.keys(kept).length === 0) throw error;
    return { path, kept, isChanged: false, damage: error.message };
  }
  const found = await filesOf(path, names, kept, how);
  const gone = Object.keys(found).every(isStagedName) ? goneOf(kept, how) : {};
  const isGone = Object.keys(gone).length > 0;
  const files = Object.entries(isGone ? { ...gone, ...found } : found).map(([name, file]): [string, KeptFile] => {
    const before = kept[name];
    return [name, before?.stamp === file.stamp ? before : file];
  });
  const isChanged = files.length !== Object.keys(kept).length || files.some(([name, file]) => file !== kept[name]);
  const damage = `The policies folder ${path} holds no manifest any more, which ${HOW_IT_COUNTS}`;
  // The same object where it says the same, so that it is understood only once.
  return { path, kept: isChanged ? Object.fromEntries(files) : kept, isChanged, ...(isGone ? { damage } : {}) };
}

/** Some file waits to be looked at once more. */
export const isWaiting = (kept: Kept): boolean =>
  Object.values(kept).some(({ emptySince }) => emptySince !== undefined);

/** The warning for a broken file; none where no version of it was ever read: such a file fails the call, unless it is staged. */
function brokenText(file: string, { broken, documents }: KeptFile, isTrial: boolean): string[] {
  const what = `${file} cannot be read as manifests`;
  if (documents)
    return [`${what}, so its last good version ${isTrial ? 'stays on trial' : 'stays in force'}: ${broken}`];
  return isTrial ? [`${what}, so nothing of it is tried: ${broken}`] : [];
}

/** A line for each file whose newest version does not count. */
export const warningsOf = ({ path, kept, damage }: Pick<Folder, 'path' | 'kept' | 'damage'>): string[] => [
  ...(damage === undefined ? [] : [`${damage}: what it said last stays in force`]),
  ...Object.entries(kept).flatMap(([name, file]) =>
    file.broken === undefined ? [] : brokenText(`${path}/${name}`, file, isStagedName(name)),
  ),
];

/** A line for each file with policies of kinds that this version does not enforce. */
export const notesOf = ({ path, kept }: Pick<Folder, 'path' | 'kept'>): string[] =>
  Object.entries(kept).flatMap(([name, { unenforced = [] }]) => {
    const [first] = unenforced;
    if (first === undefined) return [];
    const others = unenforced.length - 1;
    return [
      others > 0
        ? `${path}/${name}: ${first} and ${others} more are not enforced by this version`
        : `${path}/${name}: ${first} is not enforced by this version`,
    ];
  });

/** Problems of documents name their file themselves. */
const brokenAt = (file: string, why: string): string => (why.startsWith(`${file}#`) ? why : `${file}: ${why}`);

/** @throws PolicyFileError naming the files that never could be read as manifests */
export function refuseBroken({ path, kept }: Folder): void {
  const never = Object.entries(kept).filter(
    ([name, file]) => file.broken !== undefined && !file.documents && !isStagedName(name),
  );
  if (never.length === 0) return;
  const lines = never.slice(0, ENOUGH).map(([name, file]) => brokenAt(`${path}/${name}`, file.broken!));
  const more = never.length > ENOUGH ? [`and ${never.length - ENOUGH} more files`] : [];
  throw new PolicyFileError(`Cannot read policies: ${[...lines, ...more].join('; ')}`);
}

export interface Manifests {
  readonly world: World;
  readonly problems: readonly Problem[];
}

/** The same manifests are asked for several times in a call. */
const known = new WeakMap<Kept, Manifests>();

/** The manifests of all files together. Invalid policies in them are closed already, and reported. */
export function manifestsOf(kept: Kept): Manifests {
  const manifests = known.get(kept) ?? understand(kept);
  known.set(kept, manifests);
  return manifests;
}

const knownPods = new WeakMap<Kept, World['pods']>();

type Manifest = { readonly kind?: unknown; readonly items?: unknown } | null | undefined;

type Read = (value: unknown) => boolean;

const isPolicy: Read = value => (value as Manifest)?.kind === 'NetworkPolicy';

/** The document without the objects, listed ones too, that the predicate holds for: parsing those takes most of the time. */
function without(document: Document, isSkipped: Read): Document | undefined {
  const value = document.value as Manifest;
  if (isSkipped(value)) return undefined;
  if (value?.kind !== 'List' || !Array.isArray(value.items)) return document;
  return { ...document, value: { ...value, items: value.items.filter(item => !isSkipped(item)) } };
}

const withoutPolicies = (document: Document): Document | undefined => without(document, isPolicy);

/**
 * A policy that has a name, and clearly is in a namespace other than these. One without a name gets one by its place, which it
 * must not lose.
 */
const isElsewhere =
  (namespaces: ReadonlySet<string>): Read =>
  value => {
    if (!isPolicy(value)) return false;
    const metadata = (value as { readonly metadata?: unknown }).metadata as
      | { readonly name?: unknown; readonly namespace?: unknown }
      | null
      | undefined;
    const namespace = metadata?.namespace ?? 'default';
    return (
      typeof metadata?.name === 'string' &&
      isObjectName(metadata.name) &&
      typeof namespace === 'string' &&
      isNamespaceName(namespace) &&
      !namespaces.has(namespace)
    );
  };

const knownOf = new WeakMap<Kept, { readonly namespaces: ReadonlySet<string>; readonly world: World }>();

/**
 * The world that the files declare, without policies of other namespaces than these: they select no pod there, however large.
 * A namespace that was asked for once stays in it, so that a caller that asks again with fewer gets the very same world.
 */
export function worldAbout(kept: Kept, namespaces: Iterable<string>): World {
  const whole = known.get(kept);
  if (whole) return whole.world;
  const wanted = new Set(namespaces);
  const before = knownOf.get(kept);
  if (before && [...wanted].every(each => before.namespaces.has(each))) return before.world;
  const all = new Set([...wanted, ...(before?.namespaces ?? [])]);
  const isSkipped = isElsewhere(all);
  const { world } = understand(kept, document => without(document, isSkipped));
  knownOf.set(kept, { namespaces: all, world });
  return world;
}

/** The files' Pod manifests, without a look at their policies. */
export function podManifestsOf(kept: Kept): World['pods'] {
  if (Object.values(kept).every(({ isPodless }) => isPodless)) return [];
  const pods = known.get(kept)?.world.pods ?? knownPods.get(kept) ?? understand(kept, withoutPolicies).world.pods;
  knownPods.set(kept, pods);
  return pods;
}

function understand(kept: Kept, heeded = (document: Document): Document | undefined => document): Manifests {
  const declared: Declared[] = [];
  const problems: Problem[] = [];
  for (const { documents = [] } of Object.values(kept)) {
    const read = readDocuments(documents.flatMap(document => heeded(document) ?? []));
    declared.push(...read.declared);
    problems.push(...read.problems);
  }
  const { world, problems: duplicates } = worldOf(declared);
  return { world, problems: [...problems, ...duplicates] };
}

const isKept = mapOf(
  objectOf<KeptFile>({
    stamp: isText,
    documents: optional(
      listOf(
        objectOf<Document>({
          file: isText,
          document: isCount,
          value: isAnything,
          resourceVersion: optional(isText),
          isStaged: optional(isTrue),
          isTooLarge: optional(isTrue),
        }),
      ),
    ),
    isPodless: optional(isTrue),
    broken: optional(isText),
    emptySince: optional(isCount),
    unenforced: optional(listOf(isText)),
  }),
);

/** Files as they were parsed before; none where the text is unreadable, since all files can be parsed again. */
export function keptIn(text: string | undefined): Kept {
  const found = parseJson(text);
  return found.kind === 'value' && isKept(found.value) ? found.value : {};
}
