/** YAML text to plain values. On its own, so that who has no YAML to read need not load the parser. */
import { parseAllDocuments, type Tags, type YAMLParseError } from 'yaml';
import type { Problem } from '../model/problem.ts';
import type { Document } from './manifest.ts';

/** Neither sexagesimal numbers, which some IPv6 addresses look like, nor dates: to Kubernetes both are texts. */
const isUnknownThere = (tag: Tags[number]): boolean =>
  typeof tag !== 'string' && (tag.tag.endsWith(':timestamp') || ('format' in tag && tag.format === 'TIME'));

/** YAML 1.1 as Kubernetes reads it, so that `no` is a flag here as well, and gets reported where a label is expected. */
const asKubernetes = {
  version: '1.1',
  customTags: (tags: Tags): Tags => tags.filter(tag => !isUnknownThere(tag)),
} as const;

/** Members of all mappings in the value. */
function membersIn(value: unknown): number {
  if (typeof value !== 'object' || value === null) return 0;
  const items: readonly unknown[] = Array.isArray(value) ? value : Object.values(value);
  return items.reduce((sum: number, item) => sum + membersIn(item), Array.isArray(value) ? 0 : items.length);
}

/** Keys that are written in the text of valid JSON, those that stand twice in one mapping included. */
function keysIn(json: string): number {
  let keys = 0;
  for (const [, colon] of json.matchAll(/"(?:[^"\\]|\\.)*"\s*(:)?/g)) if (colon !== undefined) keys++;
  return keys;
}

/**
 * The value of a text that is one document of JSON, at a hundredth of what it costs to read it as YAML, which all JSON is.
 * Undefined where it is none, or has a key twice, which JSON's own parser would not tell.
 */
function jsonIn(text: string): { readonly value: unknown } | undefined {
  if (!/^\s*[{[]/.test(text)) return undefined;
  try {
    const value: unknown = JSON.parse(text);
    return membersIn(value) === keysIn(text) ? { value } : undefined;
  } catch (error) {
    // The text is YAML's flow style, too deep, or broken: YAML's parser says where.
    if (error instanceof SyntaxError || error instanceof RangeError) return undefined;
    throw error;
  }
}

/** Where the parser has lost its way, each word that follows is one more error: those up to there. */
function firstErrors(errors: readonly YAMLParseError[]): readonly YAMLParseError[] {
  const lost = errors.findIndex(({ code }) => code === 'UNEXPECTED_TOKEN');
  return lost === -1 ? errors : errors.slice(0, lost + 1);
}

/** The documents of a file, JSON ones too. A file with a syntax error gives none, since half a file may mean the opposite. */
export function readYaml(
  text: string,
  file: string,
): { readonly documents: readonly Document[]; readonly problems: readonly Problem[] } {
  const json = jsonIn(text);
  if (json) return { documents: [{ file, document: 0, value: json.value }], problems: [] };
  const parsed = parseAllDocuments(text, asKubernetes);
  const documents: Document[] = [];
  const problems: Problem[] = [];
  for (const [document, tree] of [...parsed].entries()) {
    const report = (message: string) =>
      problems.push({ severity: 'error', file, document, field: '', message, matter: 'unreadable' });
    for (const { message } of firstErrors(tree.errors)) report(message.split('\n')[0]!.replace(/:$/, ''));
    if (tree.errors.length > 0) continue;
    try {
      documents.push({ file, document, value: tree.toJS() });
    } catch (error) {
      report(error instanceof Error ? error.message : String(error));
    }
  }
  return problems.length > 0 ? { documents: [], problems } : { documents, problems };
}
