/**
 * Writes the files of a release.
 *
 * Usage, by release.sh: node main.ts EXECUTABLE CACHE OUTPUT [--url=URL]
 * CACHE: what release.sh has fetched. OUTPUT: a folder, empty.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { about, inTree } from './about.ts';
import { debianPackages } from './debian.ts';
import { imageArchive } from './image.ts';

const { positionals, values } = parseArgs({ allowPositionals: true, options: { url: { type: 'string' } } });
const [executable, cache, output] = positionals;
if (!executable || !cache || !output) throw new Error('Usage: node main.ts EXECUTABLE CACHE OUTPUT [--url=URL]');

/** One line, written over and over, where a person looks. */
const progress = (text: string): void => {
  if (process.stderr.isTTY) process.stderr.write(`\r\u001b[K${text}`);
};

const what = about(executable, values.url);
const write = (name: string, bytes: Uint8Array | string): void => writeFileSync(join(output, name), bytes);
const program = { path: 'usr/bin/tollgate', content: readFileSync(executable), mode: 0o755 };
const license = { path: 'usr/share/doc/tollgate/copyright', content: readFileSync(inTree('LICENSE')) };

progress('release: the image');
const packages = await debianPackages(what, join(cache, 'debian'));
write(`tollgate-${what.version}-${what.arch}.oci.tar`, await imageArchive(what, packages, [program, license]));
progress('');
