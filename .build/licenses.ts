/** The packages whose code is in the executable, with their licences: `tollgate licenses` prints them, the SBOM lists them. */
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Carried } from '../lib/cli/licenses.ts';

/** Fields of a package.json. */
interface Manifest {
  readonly name: string;
  readonly version: string;
  readonly license?: string;
  readonly author?: string | { readonly name: string };
}

/** @param folder  of the package, absolute. @throws Error nothing in it says under which licence it may be used */
function carried(folder: string): Carried {
  const { name, version, license, author } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as Manifest;
  if (license === undefined) throw new Error(`Cannot hand out ${name} ${version}: its package.json names no licence`);
  const [file] = globSync('{licen[cs]e,LICEN[CS]E,COPYING}*', { cwd: folder }).sort();
  const of = author === undefined ? '' : `, of ${typeof author === 'string' ? author : author.name}`;
  const text =
    file === undefined ? `The package says only: ${license}${of}.` : readFileSync(join(folder, file), 'utf8');
  return { name, version, license, text };
}

/**
 * @param inputs  the files that the bundler read, relative to the root
 * @param whole   folders of packages that are carried without the bundler's help, relative to the root
 */
export function carriedPackages(root: string, inputs: readonly string[], whole: readonly string[]): readonly Carried[] {
  const bundled = inputs.flatMap(file => /^(?:.*\/)?node_modules\/(?:@[^/]+\/)?[^/]+(?=\/)/.exec(file) ?? []);
  const all = [...new Set([...bundled, ...whole])].sort().map(folder => carried(join(root, folder)));
  // npm lays the same version into several folders.
  return [...new Map(all.map(each => [`${each.name} ${each.version}`, each])).values()];
}
