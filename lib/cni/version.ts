import { CniError, codes } from './error.ts';

/** Oldest first. A config's version is matched exactly, as libcni does: `1.1` is none of these. */
export const supportedVersions = ['0.1.0', '0.2.0', '0.3.0', '0.3.1', '0.4.0', '1.0.0', '1.1.0'] as const;

export type CniVersion = (typeof supportedVersions)[number];

export const newestVersion: CniVersion = '1.1.0';

/** A config that names no version means the first one (SPEC 0.1.0 had no such key). */
export const impliedVersion: CniVersion = '0.1.0';

export const isSupported = (version: string): version is CniVersion =>
  (supportedVersions as readonly string[]).includes(version);

export const atLeast = (version: CniVersion, least: CniVersion): boolean =>
  supportedVersions.indexOf(version) >= supportedVersions.indexOf(least);

/** @throws CniError code 1 where the config speaks a version that we do not. */
export function parseVersion(version: string): CniVersion {
  if (version === '') return impliedVersion;
  if (isSupported(version)) return version;
  throw new CniError(
    codes.incompatibleVersion,
    'incompatible CNI versions',
    `config is ${JSON.stringify(version)}, plugin supports ${JSON.stringify(supportedVersions)}`,
  );
}

/** The answer to VERSION. Its stdin stays unread (a runtime may leave it open), so it names our newest version. */
export const versionResult = (): {
  readonly cniVersion: CniVersion;
  readonly supportedVersions: readonly string[];
} => ({
  cniVersion: newestVersion,
  supportedVersions,
});

/** The text on stderr for an empty CNI_COMMAND. */
export const aboutText = (program: string, release: string): string =>
  `CNI ${program} plugin v${release}\nCNI protocol versions supported: ${supportedVersions.join(', ')}\n`;
