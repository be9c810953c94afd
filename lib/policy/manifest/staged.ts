/** Staged policies: judged, shown beside what is in force, and never enforced. */
import { complain, type Field, isAbsent, isMapping, member, shown, warn } from './field.ts';
import type { ManifestObject } from './manifest-of.ts';

const STAGED = 'tollgate.dev/staged';

/** Tells of what looks as if it staged the policy, and does not. */
function warnOfSlips(metadata: Field): void {
  for (const where of ['annotations', 'labels'] as const) {
    const field = member(metadata, where);
    const keys = isMapping(field.value) ? Object.keys(field.value) : [];
    for (const key of keys.filter(each => /^tollgate[./]/i.test(each) && !(where === 'annotations' && each === STAGED)))
      warn(member(field, key), `Nothing that a policy may have: an annotation ${STAGED}: "true" stages it`);
  }
}

/** Whether the object's annotation says so. What it says is told where it is neither true nor false: then it is enforced. */
export function isStaged(object: Field): boolean {
  const metadata = member(object, 'metadata');
  warnOfSlips(metadata);
  const field = member(member(metadata, 'annotations'), STAGED);
  if (isAbsent(field) || field.value === 'false') return false;
  if (field.value === 'true') return true;
  const what = typeof field.value === 'string' ? 'is neither "true" nor "false"' : 'where a text is expected';
  const instead = field.value === true ? 'which stages it here, and the API refuses' : 'so the policy is enforced';
  complain(field, `${shown(field.value)} ${what}, ${instead}: write "true" or "false", in quotes`);
  return field.value === true;
}

/** The manifest with the annotation. */
export const stagedManifest = (manifest: ManifestObject): ManifestObject => {
  const metadata = isMapping(manifest['metadata']) ? manifest['metadata'] : {};
  return { ...manifest, metadata: { ...metadata, annotations: { [STAGED]: 'true' } } };
};
