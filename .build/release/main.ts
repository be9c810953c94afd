/**
 * Writes the files of a release.
 *
 * Usage, by release.sh: node main.ts EXECUTABLE CACHE OUTPUT [--url=URL] [--nfpm=PROGRAM]
 * CACHE: what release.sh has fetched. PROGRAM: nfpm; without it there are no packages. OUTPUT: a folder, empty.
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { type ArchiveEntry, gzip, tar } from '../../lib/cli/sysdump/archive.ts';
import { about } from './about.ts';
import { chart, kustomization } from './chart.ts';
import { debianPackages } from './debian.ts';
import { imageArchive } from './image.ts';
import { packagers, writePackage } from './packages.ts';
import { tree } from './tree.ts';

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: { url: { type: 'string' }, nfpm: { type: 'string' } },
});
const { nfpm, url } = values;
const [executable, cache, output] = positionals;
if (!executable || !cache || !output)
  throw new Error('Usage: node main.ts EXECUTABLE CACHE OUTPUT [--url=URL] [--nfpm=PROGRAM]');

/** One line, written over and over, where a person looks. */
const progress = (text: string): void => {
  if (process.stderr.isTTY) process.stderr.write(`\r\u001b[K${text}`);
};

const what = about(executable, url);
const write = (name: string, bytes: Uint8Array | string): void => writeFileSync(join(output, name), bytes);
const below = (prefix: string, entries: readonly ArchiveEntry[]): readonly ArchiveEntry[] =>
  entries.map(entry => ({ ...entry, path: `${prefix}${entry.path}` }));

const name = `tollgate-${what.version}`;

progress('release: manual pages');
const files = tree(what);

progress('release: the image');
const packages = await debianPackages(what, join(cache, 'debian'));
const inImage = new Set(['bin/tollgate', 'share/doc/tollgate/LICENSE', 'share/doc/tollgate/licenses']);
const program = below(
  'usr/',
  files.filter(({ path }) => inImage.has(path)),
);
write(`${name}-${what.arch}.oci.tar`, await imageArchive(what, packages, program));

progress('release: the tarball');
write(`${name}-linux-${what.arch}.tar.gz`, await gzip(await tar(below(`${name}/`, files), what.time)));

progress('release: the chart and the manifests');
write(`${name}.tgz`, await gzip(await tar(chart(what), what.time)));
write(`${name}-kustomize.tar.gz`, await gzip(await tar(below(`${name}-kustomize/`, kustomization()), what.time)));
write(`${name}.yaml`, execFileSync(executable, ['install', '--kubernetes']));

if (nfpm !== undefined)
  for (const packager of packagers) {
    progress(`release: the .${packager}`);
    const folder = mkdtempSync(join(tmpdir(), 'tollgate-release-'));
    try {
      writePackage(what, { nfpm, packager, folder, output: join(output, `${name}-${what.arch}.${packager}`) }, files);
    } finally {
      rmSync(folder, { recursive: true });
    }
  }
progress('');
