/** Staged policies: judged, shown beside what is in force, and never enforced. */
import { complain, type Field, isAbsent, isMapping, member, membersOf, shown, warn } from './field.ts';
import type { ManifestObject } from './manifest-of.ts';

const STAGED = 'tollgate.dev/staged';

/** What looks as if it staged the policy, and does not. */
const isSlip = (key: string): boolean => /^tollgate[./]/i.test(key) || /^staged$/i.test(key);

function reportSlips(metadata: Field): void {
  for (const where of ['annotations', 'labels'] as const)
    for (const [key, field] of membersOf(member(metadata, where)) ?? [])
      if (isSlip(key) && !(where === 'annotations' && key === STAGED))
        warn(field, `Nothing that a policy may have: an annotation ${STAGED}: "true" stages it`);
}

/** What follows from an annotation that says neither true nor false. */
function consequenceOf({ value }: Field, isInFolder: boolean): string {
  if (isInFolder) return 'and the folder of staged policies stages it';
  return value === true ? 'which stages it here, and the API refuses' : 'so the policy is enforced';
}

/**
 * Whether the object is staged: by its annotation, or because its file is in the folder of staged policies. An annotation that
 * is neither true nor false stages nothing, and is told.
 */
export function isStaged(object: Field, isInFolder = false): boolean {
  const metadata = member(object, 'metadata');
  reportSlips(metadata);
  const field = member(member(metadata, 'annotations'), STAGED);
  const { value } = field;
  if (isAbsent(field) || value === 'true') return isInFolder || value === 'true';
  if (value === 'false') {
    if (isInFolder) warn(field, '"false", and the folder of staged policies stages it all the same: move the file up');
    return isInFolder;
  }
  const what = typeof value === 'string' ? 'is neither "true" nor "false"' : 'where a text is expected';
  complain(field, `${shown(value)} ${what}, ${consequenceOf(field, isInFolder)}: write "true" or "false", in quotes`);
  return isInFolder || value === true;
}

/** The manifest with the annotation. */
export const stagedManifest = (manifest: ManifestObject): ManifestObject => {
  const metadata = isMapping(manifest['metadata']) ? manifest['metadata'] : {};
  return { ...manifest, metadata: { ...metadata, annotations: { [STAGED]: 'true' } } };
};
