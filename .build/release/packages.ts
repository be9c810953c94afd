/** .deb and .rpm, by nfpm. Its configuration is JSON, which is YAML, too. @see https://nfpm.goreleaser.com/docs/configuration/ */
import { execFile } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import type { ArchiveEntry } from '../../lib/cli/sysdump/archive.ts';
import type { About } from './about.ts';

export const packagers = ['deb', 'rpm'] as const;

const scripts = join(import.meta.dirname, 'packages');

/** @param staged  the folder that has the files, by their paths below /usr */
const configuration = (
  { version, arch, time, description, license, url }: About,
  files: readonly ArchiveEntry[],
  staged: string,
) => ({
  name: 'tollgate',
  ...{ version, arch, description, license, ...(url === undefined ? {} : { homepage: url }) },
  platform: 'linux',
  section: 'net',
  maintainer: "tollgate's authors",
  mtime: time.toISOString(),
  contents: files.map(({ path, linkTo, mode = 0o644 }) => ({
    ...(linkTo === undefined ? { src: join(staged, path) } : { src: linkTo, type: 'symlink' }),
    dst: `/usr/${path}`,
    file_info: { mode, mtime: time.toISOString() },
  })),
  scripts: { postinstall: join(scripts, 'postinstall.sh'), preremove: join(scripts, 'preremove.sh') },
  // Libraries that Node's release is linked with, in each format's syntax.
  overrides: {
    deb: { depends: ['libc6 (>= 2.28)', 'libstdc++6 (>= 8)'] },
    rpm: { depends: ['libc.so.6(GLIBC_2.28)(64bit)', 'libstdc++.so.6(GLIBCXX_3.4.21)(64bit)'] },
  },
  // As the tarball has it. nfpm's own choice is 9: four times the processor time, for packages that are 0.3 and 2.5 % smaller.
  deb: { compression: 'gzip:6' },
  // The host that builds must not show.
  rpm: { compression: 'gzip:6', buildhost: 'localhost' },
});

/**
 * @param nfpm    the program
 * @param folder  to work in, empty
 * @param output  the package's path
 * @throws Error nfpm failed; what it said stands in the message
 */
export async function writePackage(
  about: About,
  {
    nfpm,
    packager,
    folder,
    output,
  }: { nfpm: string; packager: (typeof packagers)[number]; folder: string; output: string },
  files: readonly ArchiveEntry[],
): Promise<void> {
  const staged = join(folder, 'files');
  for (const { path, content } of files) {
    if (content === undefined) continue;
    mkdirSync(dirname(join(staged, path)), { recursive: true });
    writeFileSync(join(staged, path), content);
  }
  const config = join(folder, 'nfpm.json');
  writeFileSync(config, JSON.stringify(configuration(about, files, staged)));
  const env = { ...process.env, SOURCE_DATE_EPOCH: String(about.time.getTime() / 1000), TZ: 'UTC' };
  await promisify(execFile)(nfpm, ['package', '--config', config, '--packager', packager, '--target', output], { env });
}
