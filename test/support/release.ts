/** The files of the release under test: what `npm run release` makes. */
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import manifest from '../../package.json' with { type: 'json' };

export const { version } = manifest;
export const arch = process.arch === 'arm64' ? 'arm64' : 'amd64';
export const releaseDir = process.env['RELEASE'] ?? fileURLToPath(new URL('../../dist/release', import.meta.url));

/** @throws Error there is no such file */
export function released(name: string): string {
  const path = `${releaseDir}/${name}`;
  if (!existsSync(path)) throw new Error(`${path} is not there: run \`npm run release\` first`);
  return path;
}
