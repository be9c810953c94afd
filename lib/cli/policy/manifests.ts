/** FILE… of the policy commands: manifests in YAML or JSON, folders of them, or `-` for stdin. */
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { isStagedName, namesIn, unreadBelow } from '../../nodestore/folder-listing.ts';
import { lookAt, textIn } from '../../nodestore/manifest-file.ts';
import { type Document, readManifests } from '../../policy/manifest/manifest.ts';
import { readYaml } from '../../policy/manifest/yaml.ts';
import type { World } from '../../policy/model/model.ts';
import { formatProblem, isUnreadable, type Problem } from '../../policy/model/problem.ts';
import { doing } from '../../state/error.ts';
import { bytesOf } from './given-file.ts';

export const fileOption = {
  file: {
    alias: 'f',
    type: 'string',
    array: true,
    requiresArg: true,
    describe:
      'YAML or JSON manifests: a file, a folder (of those below it only staged/), or - for stdin; may be given again',
  },
} as const;

/** Path that takes the place of `-` before yargs reads it: yargs takes a bare `-` for no value at all. */
export const STDIN = '/dev/stdin';

export interface Documents {
  readonly documents: readonly Document[];
  /** Files that do not parse: nothing of them is in the documents. */
  readonly problems: readonly Problem[];
}

const damaged = (file: string, message: string): Documents => ({
  documents: [],
  problems: [{ severity: 'error', file, document: 0, field: '', message, matter: 'unreadable' }],
});

function readFile(path: string): Documents {
  const file = path === STDIN ? 'stdin' : path;
  const content = textIn(bytesOf(path === STDIN ? 0 : path, file));
  return 'damage' in content ? damaged(file, content.damage) : readYaml(content.text, file);
}

/** The files that the node itself would read, and a warning for each folder that it would not. */
const readFolder = (folder: string): readonly Documents[] => [
  ...namesIn(folder).map(name => {
    const path = join(folder, name);
    const damage = lookAt(path)?.damage;
    const read = damage === undefined ? readFile(path) : damaged(path, damage);
    return isStagedName(name) ? staged(read) : read;
  }),
  ...Object.entries(unreadBelow(folder)).map(([file, message]): Documents => {
    const place = { file, document: 0, field: '' };
    return { documents: [], problems: [{ severity: 'warning', ...place, message }] };
  }),
];

const staged = ({ documents, problems }: Documents): Documents => ({
  documents: documents.map(document => ({ ...document, isStaged: true })),
  problems,
});

/** @throws Error where a file cannot be read */
export function readFiles(paths: readonly string[]): Documents {
  const isFolder = (path: string): boolean => path !== STDIN && statSync(path).isDirectory();
  const read = paths.flatMap(path => doing('read', path, () => (isFolder(path) ? readFolder(path) : readFile(path))));
  return { documents: read.flatMap(each => each.documents), problems: read.flatMap(each => each.problems) };
}

/** Problems that are named; `tollgate policy lint` shows the others. */
const ENOUGH = 3;

/** Refuses files that cannot be read as manifests, since no answer about them is possible. @throws Error naming them */
export function refuseUnreadable(problems: readonly Problem[]): void {
  const unreadable = problems.filter(isUnreadable);
  if (unreadable.length === 0) return;
  const more = unreadable.length > ENOUGH ? `\nand ${unreadable.length - ENOUGH} more: see tollgate policy lint` : '';
  const lines = unreadable.slice(0, ENOUGH).map(formatProblem);
  throw new Error(`Cannot judge by what cannot be read as manifests: ${lines.join('\n')}${more}`);
}

/**
 * The world that the files declare together; an invalid policy is closed, and reported in `problems`.
 * @throws Error where a file cannot be read, or not as manifests
 */
export function worldIn(paths: readonly string[]): { readonly world: World; readonly problems: readonly Problem[] } {
  const { documents, problems } = readFiles(paths);
  const { world, problems: more } = readManifests(documents);
  refuseUnreadable([...problems, ...more]);
  return { world, problems: more };
}
