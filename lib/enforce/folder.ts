/**
 * The policies folder: manifests of policies, and of the namespaces and pods that they speak of. Parsing YAML costs more
 * than everything else in a call together, so what was parsed is kept beside the node's state, file by file.
 */
import { type BigIntStats, readdirSync, readFileSync, statSync } from 'node:fs';
import type { Problem } from '../policy/field.ts';
import { type Declared, type Document, readDocuments, worldOf } from '../policy/manifest.ts';
import type { World } from '../policy/model.ts';
import { formatProblem } from '../policy/problem.ts';
import { FileMemory, parseJson, writeJson } from '../state/atomic.ts';
import { errnoOf } from '../state/error.ts';
import { isAnything, isCount, isText, isTrue, listOf, mapOf, objectOf, optional } from '../state/shape.ts';

/** One file as it was when it was last looked at. */
interface KeptFile {
  /** Changes whenever the file does: inode, size, and times in nanoseconds. */
  readonly stamp: string;
  /** Of the last version that parsed; undefined: none ever did. */
  readonly documents?: readonly Document[];
  /** The documents say nothing of pods: what most folders are asked for first, call after call. */
  readonly isPodless?: true;
  /** Why the version with this stamp does not parse. */
  readonly broken?: string;
}

export type Kept = Readonly<Record<string, KeptFile>>;

export interface Folder {
  readonly path: string;
  readonly kept: Kept;
  /** Some file is not as it was kept. */
  readonly isChanged: boolean;
}

/** A file that never parsed: there is no version of it that could be in force. */
export class PolicyFileError extends Error {
  override readonly name = 'PolicyFileError';
}

const endings = ['.yaml', '.yml', '.json'] as const;

function isManifest(name: string): boolean {
  const lower = name.toLowerCase();
  return !name.startsWith('.') && endings.some(ending => lower.endsWith(ending));
}

function list(folder: string): readonly string[] {
  try {
    return readdirSync(folder).filter(isManifest).sort();
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return [];
    throw new PolicyFileError(
      `Cannot read the policies folder ${folder}: ${error instanceof Error ? error.message : error}`,
    );
  }
}

/** The folder that was listed last, and when it had changed. */
let listed: { readonly path: string; readonly stamp: string; readonly names: readonly string[] } | undefined;

/**
 * Milliseconds: no file system's clock stands still for longer, and what comes and goes while it does leaves a folder's times
 * as they are.
 */
const STANDSTILL = 3_000;

/** A folder is not listed again that has not changed since. */
function namesIn(folder: string): readonly string[] {
  const stat = statSync(folder, { bigint: true, throwIfNoEntry: false });
  if (stat && listed?.path === folder && listed.stamp === stampIn(stat)) return listed.names;
  listed = undefined;
  const names = list(folder);
  if (stat && Date.now() - Number(stat.ctimeMs) > STANDSTILL) listed = { path: folder, stamp: stampIn(stat), names };
  return names;
}

const stampIn = ({ dev, ino, size, mtimeNs, ctimeNs }: BigIntStats): string =>
  `${dev}:${ino}:${size}:${mtimeNs}:${ctimeNs}`;

function stampOf(path: string): string | undefined {
  const stat = statSync(path, { bigint: true, throwIfNoEntry: false });
  return stat?.isFile() ? stampIn(stat) : undefined;
}

async function parse(path: string, stamp: string, before: KeptFile | undefined): Promise<KeptFile> {
  const { readYaml } = await import('../policy/yaml.ts');
  const { documents, problems } = readYaml(readFileSync(path, 'utf8'), path);
  if (problems.length === 0) {
    const isPodless = understand({ [path]: { stamp, documents } }, withoutPolicies).world.pods.length === 0;
    return { stamp, documents, ...(isPodless ? { isPodless } : {}) };
  }
  const broken = problems.map(formatProblem).join('; ');
  const { documents: last, isPodless } = before ?? {};
  return { stamp, broken, ...(last ? { documents: last } : {}), ...(isPodless ? { isPodless } : {}) };
}

/**
 * The folder as it is now; files that are as they were kept are not read again. A folder that is not there is empty.
 * @throws PolicyFileError where the folder, or a file that never parsed, cannot be read
 */
export async function readFolder(path: string, kept: Kept): Promise<Folder> {
  const files: [string, KeptFile][] = [];
  let isChanged = false;
  for (const name of namesIn(path)) {
    const file = `${path}/${name}`;
    const stamp = stampOf(file);
    if (stamp === undefined) continue;
    const before = kept[name];
    if (before?.stamp === stamp) {
      files.push([name, before]);
      continue;
    }
    isChanged = true;
    files.push([name, await parse(file, stamp, before)]);
  }
  isChanged ||= files.length !== Object.keys(kept).length;
  // The same object where it says the same, so that it is understood only once.
  return { path, kept: isChanged ? Object.fromEntries(files) : kept, isChanged };
}

/** A line for each file whose newest version does not count because it does not parse. */
export const warningsOf = ({ path, kept }: Folder): string[] =>
  Object.entries(kept).flatMap(([name, { broken, documents }]) =>
    broken !== undefined && documents
      ? [`${path}/${name} does not parse, so its last good version stays in force: ${broken}`]
      : [],
  );

/** @throws PolicyFileError naming the files that never parsed */
export function refuseBroken({ path, kept }: Folder): void {
  const broken = Object.entries(kept).filter(([, file]) => file.broken !== undefined && !file.documents);
  if (broken.length === 0) return;
  const lines = broken.map(([name, file]) => `${path}/${name}: ${file.broken}`);
  throw new PolicyFileError(`Cannot read policies: ${lines.join('; ')}`);
}

export interface Manifests {
  readonly world: World;
  readonly problems: readonly Problem[];
}

/** The same manifests are asked for several times in a call. */
const known = new WeakMap<Kept, Manifests>();

/** What all files say together. What is invalid in them is closed already, and reported. */
export function manifestsOf(kept: Kept): Manifests {
  const manifests = known.get(kept) ?? understand(kept);
  known.set(kept, manifests);
  return manifests;
}

const knownPods = new WeakMap<Kept, World['pods']>();

type Manifest = { readonly kind?: unknown; readonly items?: unknown } | null | undefined;

const isPolicy = (value: unknown): boolean => (value as Manifest)?.kind === 'NetworkPolicy';

/** Without the policies, listed ones too: most of what there is to understand. */
function withoutPolicies(document: Document): Document | undefined {
  const value = document.value as Manifest;
  if (isPolicy(value)) return undefined;
  if (value?.kind !== 'List' || !Array.isArray(value.items)) return document;
  return { ...document, value: { ...value, items: value.items.filter(item => !isPolicy(item)) } };
}

/** What the files say of pods, without a look at their policies. */
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
    documents: optional(listOf(objectOf<Document>({ file: isText, document: isCount, value: isAnything }))),
    isPodless: optional(isTrue),
    broken: optional(isText),
  }),
);

const memory = new FileMemory((text): Kept => {
  const found = parseJson(text);
  return found.kind === 'value' && isKept(found.value) ? found.value : {};
});

/** What was parsed before; nothing where that is unreadable, since it can all be parsed again. */
export const readKept = (path: string): Kept => memory.read(path);

export function writeKept(path: string, kept: Kept): void {
  writeJson(path, kept);
  memory.learn(path, kept);
}
