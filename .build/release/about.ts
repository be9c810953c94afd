/** Facts that all files of a release tell of it. */
import { execFileSync } from 'node:child_process';
import { join, resolve } from 'node:path';
import manifest from '../../package.json' with { type: 'json' };

export const root = resolve(import.meta.dirname, '../..');

export interface About {
  readonly version: string;
  readonly description: string;
  readonly license: string;
  /** The architecture, as container images, Debian and krew call it. */
  readonly arch: 'amd64' | 'arm64';
  /** Time of every file in every archive: SOURCE_DATE_EPOCH, or else the commit's. */
  readonly time: Date;
  /** The commit, where git knows it. */
  readonly revision?: string;
  /** URL of the sources, where the caller gives one. */
  readonly url?: string;
  /** The executable, whole. */
  readonly executable: string;
}

/** @returns undefined outside of a clone */
function git(...args: readonly string[]): string | undefined {
  try {
    return execFileSync('git', args, { cwd: root, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim();
  } catch {
    return undefined;
  }
}

/** @throws Error the caller's SOURCE_DATE_EPOCH is no number, or there is neither it nor a commit */
export function about(executable: string, url: string | undefined): About {
  const { version, description, license } = manifest;
  const seconds = process.env['SOURCE_DATE_EPOCH'] ?? git('log', '-1', '--format=%ct');
  if (seconds === undefined || !/^[0-9]{1,11}$/.test(seconds))
    throw new Error(
      `Cannot date the release: SOURCE_DATE_EPOCH is ${JSON.stringify(seconds)}; set it to seconds since 1970`,
    );
  const revision = git('rev-parse', 'HEAD');
  return {
    ...{ version, description, license, executable },
    arch: process.arch === 'arm64' ? 'arm64' : 'amd64',
    time: new Date(Number(seconds) * 1000),
    ...(revision === undefined ? {} : { revision }),
    ...(url === undefined ? {} : { url }),
  };
}

export const inTree = (...path: readonly string[]): string => join(root, ...path);
