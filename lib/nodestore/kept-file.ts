/** One file of the policies folder, look after look: what it says, or what it said last where that cannot be known now. */
import { readFileSync } from 'node:fs';
import { monotonic } from '../kernel/monotonic.ts';
import { type Document, readDocuments } from '../policy/manifest/manifest.ts';
import { formatProblem, isUnreadable, type Problem } from '../policy/model/problem.ts';
import { type FoundFile, textIn } from './manifest-file.ts';

/** One file as it was when it was last looked at. */
export interface KeptFile {
  /** Changes whenever the file does, and when what it says comes to count. */
  readonly stamp: string;
  /** Documents of the last version that parsed; undefined: none ever did. */
  readonly documents?: readonly Document[];
  /** The documents hold no Pod. Each call asks for the folder's pods first, and most folders have none. */
  readonly isPodless?: true;
  /** Why the version with this stamp does not count. */
  readonly broken?: string;
  /**
   * The file held objects and was first seen to hold none then, or to be gone with all others, by the monotonic clock: half of
   * a change, or meant.
   */
  readonly emptySince?: number;
  /** Policies in it that this version does not enforce. */
  readonly unenforced?: readonly string[];
}

/** How a folder is looked at. */
export interface FolderLook {
  /** The caller confirms that what is empty is meant to be empty. */
  readonly isConfirmed?: boolean;
  /** Milliseconds of the monotonic clock. */
  readonly now?: number;
}

/** Milliseconds between the two looks that it takes to believe that a file, or the folder, is empty. */
export const CONFIRMING = 2_000;

/** Says how to make an empty file count at once, or later. */
export const HOW_IT_COUNTS = 'counts once it is confirmed, by `tollgate policy apply` or by another look after 2 s';

/** So many problems of a file are told; what follows from the first is not worth a page. */
export const ENOUGH = 3;

function severalOf(problems: readonly Problem[]): string {
  const more = problems.length - ENOUGH;
  return [...problems.slice(0, ENOUGH).map(formatProblem), ...(more > 0 ? [`and ${more} more`] : [])].join('; ');
}

const isEmpty = (documents: readonly Document[] = []): boolean =>
  documents.every(({ value }) => value === null || value === undefined);

type Reading =
  | { readonly broken: string }
  | (Pick<KeptFile, 'isPodless' | 'unenforced'> & { readonly documents: readonly Document[] });

/** Reads a file of manifests; broken where it cannot be understood as such. @throws Error where it cannot be read */
async function readManifestsIn(path: string): Promise<Reading> {
  const content = textIn(readFileSync(path));
  if ('damage' in content) return { broken: content.damage };
  const { readYaml } = await import('../policy/manifest/yaml.ts');
  const { documents, problems } = readYaml(content.text, path);
  if (problems.length > 0) return { broken: severalOf(problems) };
  const { declared, problems: found } = readDocuments(documents);
  const unreadable = found.filter(isUnreadable);
  if (unreadable.length > 0) return { broken: severalOf(unreadable) };
  const unenforced = found.flatMap(({ matter, object }) => (matter === 'unenforced' ? (object ?? []) : []));
  const isPodless = declared.every(({ object }) => object.kind !== 'Pod');
  return { documents, ...(isPodless ? { isPodless } : {}), ...(unenforced.length > 0 ? { unenforced } : {}) };
}

/** The fields of the last good version, which goes on counting while the newest does not. */
const lastGood = ({ documents, isPodless, unenforced }: Partial<KeptFile> = {}) => ({
  ...(documents ? { documents } : {}),
  ...(isPodless ? { isPodless } : {}),
  ...(unenforced ? { unenforced } : {}),
});

const broken = (stamp: string, why: string, before?: KeptFile): KeptFile => ({
  ...{ stamp, broken: why },
  ...lastGood(before),
});

/** Since when what held objects is known to hold none; undefined where that is confirmed. */
function emptySince(
  waiting: string,
  before: KeptFile,
  { isConfirmed = false, now = Math.floor(monotonic()) }: FolderLook,
): number | undefined {
  const known = before.stamp === waiting ? before.emptySince : undefined;
  const since = known !== undefined && known <= now ? known : now;
  return isConfirmed || now - since >= CONFIRMING ? undefined : since;
}

/** A file that held objects and holds none may be half written, so it counts once it has been so for a while. */
function emptied(stamp: string, before: KeptFile, how: FolderLook): KeptFile | undefined {
  const waiting = `${stamp} empty`;
  const since = emptySince(waiting, before, how);
  return since === undefined
    ? undefined
    : { ...broken(waiting, `it has become empty, which ${HOW_IT_COUNTS}`, before), emptySince: since };
}

/**
 * A file of a folder in which there is no manifest any more: the disk may not be mounted, an empty one may be mounted over it,
 * or the folder is being made anew. Undefined where the file never held anything, or its end is confirmed.
 */
export function goneWithAll(before: KeptFile, how: FolderLook): KeptFile | undefined {
  if (isEmpty(before.documents)) return undefined;
  const since = emptySince('gone', before, how);
  return since === undefined ? undefined : { stamp: 'gone', ...lastGood(before), emptySince: since };
}

export async function look(
  path: string,
  found: FoundFile,
  before: KeptFile | undefined,
  how: FolderLook,
): Promise<KeptFile> {
  const { stamp, damage } = found;
  if (damage !== undefined) return broken(stamp, damage, before);
  let reading: Reading;
  try {
    reading = await readManifestsIn(path);
  } catch (error) {
    // It may be readable the next time, though nothing of it has changed.
    return broken(`${stamp} unread`, error instanceof Error ? error.message : String(error), before);
  }
  if ('broken' in reading) return broken(stamp, reading.broken, before);
  const isEmptied = isEmpty(reading.documents) && before && !isEmpty(before.documents);
  return (isEmptied ? emptied(stamp, before, how) : undefined) ?? { stamp, ...reading };
}
