/**
 * Writes the files of a release.
 *
 * Usage, by release.sh: node main.ts EXECUTABLE CACHE OUTPUT [--url=URL] [--nfpm=PROGRAM] [--key=FILE]
 * CACHE: what release.sh has fetched. OUTPUT: an empty folder. PROGRAM: nfpm; without it there are no packages. FILE: a key of
 * ssh-keygen's that signs.
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { progress } from '../../lib/cli/progress.ts';
import { type ArchiveEntry, gzip, sha256, tar } from '../../lib/cli/sysdump/archive.ts';
import { about } from './about.ts';
import { chart, kustomization } from './chart.ts';
import { debianPackages } from './debian.ts';
import { imageArchive } from './image.ts';
import { krewManifest } from './krew.ts';
import { packagers, writePackage } from './packages.ts';
import { billOfMaterials } from './sbom.ts';
import { tree } from './tree.ts';

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: { url: { type: 'string' }, nfpm: { type: 'string' }, key: { type: 'string' } },
});
const { key, nfpm, url } = values;
const [executable, cache, output] = positionals;
if (!executable || !cache || !output)
  throw new Error('Usage: node main.ts EXECUTABLE CACHE OUTPUT [--url=URL] [--nfpm=PROGRAM] [--key=FILE]');

const what = about(executable, url);
const write = (name: string, bytes: Uint8Array | string): void => writeFileSync(join(output, name), bytes);
const below = (prefix: string, entries: readonly ArchiveEntry[]): readonly ArchiveEntry[] =>
  entries.map(entry => ({ ...entry, path: `${prefix}${entry.path}` }));

const pretty = (value: object): string => `${JSON.stringify(value, null, 2)}\n`;

const name = `tollgate-${what.version}`;

progress('release: manual pages');
const files = tree(what);

// What takes longest is compression, each on a processor of its own.
progress('release: the image, the tarball, the chart and packages');
const packages = await debianPackages(what, join(cache, 'debian'));
const inImage = new Set(['bin/tollgate', 'share/doc/tollgate/LICENSE', 'share/doc/tollgate/licenses']);
const program = below(
  'usr/',
  files.filter(({ path }) => inImage.has(path)),
);

async function writeTarball(): Promise<void> {
  const tarball = await gzip(await tar(below(`${name}/`, files), what.time));
  const file = `${name}-linux-${what.arch}.tar.gz`;
  write(file, tarball);
  // krew asks for a name that is the plugin's.
  write('tollgate.yaml', pretty(krewManifest(what, { file, sum: sha256(tarball) })));
}

async function writePackaged(nfpm: string, packager: (typeof packagers)[number]): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'tollgate-release-'));
  // Not in `finally`, which does not run where another part of the release fails.
  process.once('exit', () => rmSync(folder, { recursive: true }));
  const packaged = join(output!, `${name}-${what.arch}.${packager}`);
  await writePackage(what, { nfpm, packager, folder, output: packaged }, files);
}

await Promise.all([
  imageArchive(what, packages, program).then(image => write(`${name}-${what.arch}.oci.tar`, image)),
  writeTarball(),
  ...(nfpm === undefined ? [] : packagers.map(packager => writePackaged(nfpm, packager))),
]);
write(`${name}-${what.arch}.cdx.json`, pretty(billOfMaterials(what, packages)));
write(`${name}.tgz`, await gzip(await tar(await chart(what), what.time)));
write(`${name}-kustomize.tar.gz`, await gzip(await tar(below(`${name}-kustomize/`, kustomization()), what.time)));
write(`${name}.yaml`, execFileSync(executable, ['install', '--kubernetes']));
progress('');

const sums = readdirSync(output)
  .sort()
  .map(each => `${sha256(readFileSync(join(output, each)))}  ${each}\n`);
write('SHA256SUMS', sums.join(''));
if (key !== undefined)
  // `ssh-keygen -Y verify` checks file and signer; the namespace keeps the signature from standing for anything else.
  execFileSync('ssh-keygen', ['-q', '-Y', 'sign', '-f', key, '-n', 'tollgate-release', join(output, 'SHA256SUMS')]);
