/** FILE… of the policy commands: manifests in YAML or JSON, folders of them, or `-` for stdin. */
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { type Document, readManifests } from '../policy/manifest.ts';
import type { World } from '../policy/model.ts';
import type { Problem } from '../policy/problem.ts';
import { readYaml } from '../policy/yaml.ts';

export const fileOption = {
  file: {
    alias: 'f',
    type: 'string',
    array: true,
    requiresArg: true,
    describe: 'YAML or JSON manifests: a file, a folder (not what is below it), or - for stdin; may be given again',
  },
} as const;

/** What `-` stands for by the time that it is read: yargs takes a bare one for no value at all. */
export const STDIN = '/dev/stdin';

export interface Documents {
  readonly documents: readonly Document[];
  /** Files that do not parse: nothing of them is in the documents. */
  readonly problems: readonly Problem[];
}

const isManifest = (name: string): boolean => /\.(ya?ml|json)$/i.test(name) && !name.startsWith('.');

/** Of a folder, the files that the node itself would read. */
function filesOf(path: string): readonly string[] {
  if (path === STDIN || !statSync(path).isDirectory()) return [path];
  const names = readdirSync(path).filter(isManifest).sort();
  return names.map(name => join(path, name)).filter(file => statSync(file).isFile());
}

/** @throws Error where a file cannot be read */
export function readFiles(paths: readonly string[]): Documents {
  const read = paths
    .flatMap(filesOf)
    .map(path => readYaml(readFileSync(path === STDIN ? 0 : path, 'utf8'), path === STDIN ? 'stdin' : path));
  return { documents: read.flatMap(each => each.documents), problems: read.flatMap(each => each.problems) };
}

/** What they say together; what is invalid is closed, and among the problems. */
export function worldIn(paths: readonly string[]): { readonly world: World; readonly problems: readonly Problem[] } {
  const { documents, problems } = readFiles(paths);
  const { world, problems: more } = readManifests(documents);
  return { world, problems: [...problems, ...more] };
}
