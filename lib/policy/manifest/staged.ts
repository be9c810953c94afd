/** Staged policies: judged, shown beside what is in force, and never enforced. */
import { complain, type Field, isAbsent, isMapping, member, shown } from './field.ts';
import type { ManifestObject } from './manifest-of.ts';

const STAGED = 'tollgate.dev/staged';

/** Whether the object's annotation says so. What it says is told where it is neither true nor false: then it is enforced. */
export function isStaged(object: Field): boolean {
  const field = member(member(member(object, 'metadata'), 'annotations'), STAGED);
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
