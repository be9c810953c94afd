/** YAML text to plain values. On its own, so that who has no YAML to read need not load the parser. */
import { parseAllDocuments, type Tags } from 'yaml';
import type { Document } from './manifest.ts';
import type { Problem } from './problem.ts';

/** Neither sexagesimal numbers, which some IPv6 addresses look like, nor dates: to Kubernetes both are texts. */
const isUnknownThere = (tag: Tags[number]): boolean =>
  typeof tag !== 'string' && (tag.tag.endsWith(':timestamp') || ('format' in tag && tag.format === 'TIME'));

/** YAML 1.1 as Kubernetes reads it, so that `no` is a flag here as well, and gets reported where a label is expected. */
const asKubernetes = {
  version: '1.1',
  customTags: (tags: Tags): Tags => tags.filter(tag => !isUnknownThere(tag)),
} as const;

/** The documents of a file, JSON ones too. A file with a syntax error gives none, since half a file may mean the opposite. */
export function readYaml(
  text: string,
  file: string,
): { readonly documents: readonly Document[]; readonly problems: readonly Problem[] } {
  const parsed = parseAllDocuments(text, asKubernetes);
  const documents: Document[] = [];
  const problems: Problem[] = [];
  for (const [document, tree] of [...parsed].entries()) {
    const report = (message: string) => problems.push({ severity: 'error', file, document, field: '', message });
    for (const { message } of tree.errors) report(message.split('\n')[0]!);
    if (tree.errors.length > 0) continue;
    try {
      documents.push({ file, document, value: tree.toJS() });
    } catch (error) {
      report(error instanceof Error ? error.message : String(error));
    }
  }
  return problems.length > 0 ? { documents: [], problems } : { documents, problems };
}
