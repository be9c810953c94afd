/** Which files the policies folder holds, asked call after call. */
import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { errnoOf } from '../state/error.ts';
import { isDangling, isManifest, stampIn } from './manifest-file.ts';

/** A file that never parsed: there is no version of it that could be in force. */
export class PolicyFileError extends Error {
  override readonly name = 'PolicyFileError';
}

/** In it policies are tried: judged, and not enforced. */
export const STAGED_FOLDER = 'staged';

/** The manifests in a folder, and whether it has a folder of staged policies. */
interface Listing {
  /** Manifests, by name. */
  readonly names: readonly string[];
  readonly hasStaged: boolean;
}

function list(folder: string): Listing {
  try {
    const entries = readdirSync(folder);
    return { names: entries.filter(isManifest).sort(), hasStaged: entries.includes(STAGED_FOLDER) };
  } catch (error) {
    const isMissing = errnoOf(error) === 'ENOENT';
    if (isMissing && !isDangling(folder)) return { names: [], hasStaged: false };
    const why = isMissing ? 'it is a link to what is not there' : error instanceof Error ? error.message : error;
    throw new PolicyFileError(`Cannot read the policies folder ${folder}: ${why}`);
  }
}

/** The folder that was listed last, and when it had changed. */
let listed: (Listing & { readonly path: string; readonly stamp: string }) | undefined;

/**
 * Milliseconds: no file system's clock stands still for longer, and what comes and goes while it does leaves a folder's times
 * as they are.
 */
const STANDSTILL = 3_000;

/** A folder is not listed again that has not changed since. */
function listingOf(folder: string): Listing {
  const stat = statOf(folder);
  if (stat && listed?.path === folder && listed.stamp === stampIn(stat)) return listed;
  listed = undefined;
  const listing = list(folder);
  if (stat && Date.now() - Number(stat.ctimeMs) > STANDSTILL)
    listed = { path: folder, stamp: stampIn(stat), ...listing };
  return listing;
}

export const isStagedName = (name: string): boolean => name.startsWith(`${STAGED_FOLDER}/`);

/** Staged policies are enforced nowhere, so a folder of them that cannot be listed counts as empty. */
function stagedNames(folder: string): readonly string[] {
  try {
    const names = readdirSync(`${folder}/${STAGED_FOLDER}`).filter(isManifest).sort();
    return names.map(name => `${STAGED_FOLDER}/${name}`);
  } catch {
    return [];
  }
}

/**
 * Manifests of the folder, those of staged policies as `staged/NAME`.
 * @throws PolicyFileError where the folder cannot be read
 */
export function namesIn(folder: string): readonly string[] {
  const { names, hasStaged } = listingOf(folder);
  return hasStaged ? [...names, ...stagedNames(folder)] : names;
}

/** Folders in this one, but for that of staged policies, which hold manifests: of these nothing is read. */
const passedOver = (folder: string): readonly string[] =>
  readdirSync(folder)
    .filter(name => name !== STAGED_FOLDER && !name.startsWith('.'))
    .map(name => join(folder, name))
    .filter(path => statOf(path)?.isDirectory() && readdirSync(path).some(isManifest));

/** Paths below the folder that look as if policies were read from them, and are not; each with the reason. */
export function unreadBelow(folder: string): Readonly<Record<string, string>> {
  const staged = join(folder, STAGED_FOLDER);
  const isStagedFolder = statOf(staged)?.isDirectory();
  const why = `a folder whose manifests are not read: those of the policies folder are, and of ${STAGED_FOLDER}/ in it`;
  try {
    return {
      ...Object.fromEntries([folder, ...(isStagedFolder ? [staged] : [])].flatMap(passedOver).map(path => [path, why])),
      ...(isStagedFolder === false ? { [staged]: 'not a folder, so no policy is staged by it' } : {}),
      ...(isDangling(staged) ? { [staged]: 'a link to what is not there, so no policy is staged by it' } : {}),
    };
  } catch {
    return {};
  }
}

/** Undefined also where it cannot be had: to list the folder tells why. */
function statOf(folder: string): ReturnType<typeof lookedUp> {
  try {
    return lookedUp(folder);
  } catch {
    return undefined;
  }
}

const lookedUp = (folder: string) => statSync(folder, { bigint: true, throwIfNoEntry: false });
