/** The files that the image takes from Debian packages: those that debian.sha256 pins, as release.sh has fetched them. */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { extract } from 'tar-stream';
import type { ArchiveEntry } from '../../lib/cli/sysdump/archive.ts';
import type { About } from './about.ts';

/** Files that are taken of each package, besides its copyright. */
const taken: Readonly<Record<string, RegExp>> = {
  'base-files': /^(usr\/lib|etc)\/os-release$/,
  'gcc-12-base': /^$/,
  'libgcc-s1': /^lib\/[^/]+\/libgcc_s\.so\.1$/,
  'libstdc++6': /^usr\/lib\/[^/]+\/libstdc\+\+\.so\.6(\.[0-9.]+)?$/,
  libc6: /^lib(64)?\/([^/]+\/)?(ld-linux-[^/]+|lib(c|dl|m|pthread)\.so\.[0-9]+)$/,
};

export interface DebianPackage {
  readonly name: string;
  readonly version: string;
  /** SHA-256 of the package. */
  readonly sum: string;
  readonly entries: readonly ArchiveEntry[];
}

/** @returns each file and link of a package, without the dot and slash before its path */
async function filesOf(archive: string): Promise<readonly ArchiveEntry[]> {
  const files: ArchiveEntry[] = [];
  const reader = extract();
  reader.end(execFileSync('dpkg-deb', ['--fsys-tarfile', archive], { maxBuffer: 1 << 28 }));
  for await (const entry of reader) {
    const { name, type, linkname, mode } = entry.header;
    const content = await buffer(entry);
    const path = name.replace(/^\.\//, '');
    if (type === 'symlink') files.push({ path, linkTo: linkname });
    else if (type === 'file') files.push({ path, content, mode });
  }
  return files;
}

/** The list of pinned packages. */
const pins = (text: string) =>
  [...text.matchAll(/^([0-9a-f]{64}) {2}(([^_\n]+)_([^_\n]+)_(amd64|arm64)\.deb)$/gm)].map(
    ([, sum, file, name, version, arch]) => ({ sum: sum!, file: file!, name: name!, version: version!, arch: arch! }),
  );

/**
 * @param cache  the folder that holds the packages
 * @throws Error a package is not the one that is pinned, or lacks what is to be taken
 */
export async function debianPackages({ arch }: Pick<About, 'arch'>, cache: string): Promise<readonly DebianPackage[]> {
  const pinned = pins(readFileSync(join(import.meta.dirname, 'debian.sha256'), 'utf8')).filter(p => p.arch === arch);
  const packages: DebianPackage[] = [];
  for (const { sum, file, name, version } of pinned) {
    const archive = join(cache, file);
    const found = createHash('sha256').update(readFileSync(archive)).digest('hex');
    if (found !== sum) throw new Error(`Cannot use ${archive}: its SHA-256 is ${found}, and ${sum} is pinned`);
    const isTaken = (path: string) => taken[name]?.test(path) || path === `usr/share/doc/${name}/copyright`;
    const entries = (await filesOf(archive)).filter(({ path }) => isTaken(path));
    if (entries.length === 0) throw new Error(`Cannot use ${archive}: it has none of the files that are to be taken`);
    // Scanners of images look here for the packages inside.
    const control = execFileSync('dpkg-deb', ['--field', archive], { encoding: 'utf8' });
    packages.push({
      ...{ name, version, sum },
      entries: [
        ...entries,
        { path: `var/lib/dpkg/status.d/${name}`, content: `${control}Status: install ok installed\n` },
      ],
    });
  }
  return packages;
}
