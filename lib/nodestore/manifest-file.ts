/** Files of manifests: what a folder of them holds, and the text of one. */
import { constants, isUtf8 } from 'node:buffer';
import { type BigIntStats, lstatSync, statSync } from 'node:fs';

const endings = ['.yaml', '.yml', '.json'] as const;

/** Whether a folder's file of this name is read. */
export function isManifest(name: string): boolean {
  const lower = name.toLowerCase();
  return !name.startsWith('.') && endings.some(ending => lower.endsWith(ending));
}

/** Changes whenever the file does: inode, size, and times in nanoseconds. */
export const stampIn = ({ dev, ino, size, mtimeNs, ctimeNs }: BigIntStats): string =>
  `${dev}:${ino}:${size}:${mtimeNs}:${ctimeNs}`;

/** Bytes: what text can be made of. The pods of a large cluster come near it. */
export const LONGEST = constants.MAX_STRING_LENGTH;

const TOO_LONG = `longer than ${LONGEST >> 20} MiB, as no manifests are`;

/** A name in a folder of manifests, as it was found. */
export interface FoundFile {
  readonly stamp: string;
  /** Why it cannot be read. */
  readonly damage?: string;
}

const pathIsThere = (path: string): BigIntStats | undefined => lstatSync(path, { bigint: true, throwIfNoEntry: false });

/** The file behind the name; undefined where it has gone since the folder was listed. */
export function lookAt(path: string): FoundFile | undefined {
  const { stat, error } = following(path);
  if (stat?.isFile()) return { stamp: stampIn(stat), ...(stat.size > LONGEST ? { damage: TOO_LONG } : {}) };
  const own = pathIsThere(path);
  if (!own) return undefined;
  const damage = stat
    ? stat.isDirectory()
      ? 'a folder, not a file'
      : 'not a regular file'
    : leadsNowhere(path, error);
  return { stamp: `${stampIn(own)} unreadable`, damage };
}

function following(path: string): { readonly stat?: BigIntStats | undefined; readonly error?: unknown } {
  try {
    return { stat: statSync(path, { bigint: true, throwIfNoEntry: false }) };
  } catch (error) {
    return { error };
  }
}

/** Why a path that is there cannot be followed. */
function leadsNowhere(path: string, error: unknown): string {
  if (error) return error instanceof Error ? error.message : String(error);
  return `a link to what is not there: mend the link, or remove ${path}`;
}

/** A link that leads nowhere, in the place of a folder. */
export const isDangling = (path: string): boolean =>
  following(path).stat === undefined && pathIsThere(path) !== undefined;

/** The text of a file, or why it is none. */
export type Text = { readonly text: string } | { readonly damage: string };

const utf16 = (bytes: Buffer, isBig: boolean): string => {
  const body = Buffer.from(bytes.subarray(2));
  return (isBig ? body.swap16() : body).toString('utf16le');
};

/** The text of UTF-8, or of UTF-16 with a byte order mark, as kubectl takes it. */
function decoded(bytes: Buffer): string | undefined {
  const mark = bytes.length < 2 ? 0 : bytes.readUInt16BE(0);
  if (mark !== 0xfeff && mark !== 0xfffe)
    return isUtf8(bytes) ? bytes.toString('utf8').replace(/^\ufeff/, '') : undefined;
  const text = bytes.length % 2 === 0 ? utf16(bytes, mark === 0xfeff) : undefined;
  return text?.isWellFormed() ? text : undefined;
}

const hexOf = (character: string): string => character.codePointAt(0)!.toString(16).toUpperCase().padStart(4, '0');

/** The text, if it is UTF-8 or UTF-16 without control characters. @see https://yaml.org/spec/1.2.2/#51-character-set */
export function textIn(bytes: Buffer): Text {
  if (bytes[0] === 0x1f && bytes[1] === 0x8b) return { damage: 'compressed with gzip: unpack it' };
  const text = decoded(bytes);
  if (text === undefined) return { damage: 'neither UTF-8 nor UTF-16 with a byte order mark: save it as UTF-8' };
  const control = /(?![\t\n\r\u0085])\p{Cc}/u.exec(text);
  if (!control) return { text };
  const line = text.slice(0, control.index).split('\n').length;
  return {
    damage: `the control character U+${hexOf(control[0])} in line ${line}, which no YAML may hold: save it as UTF-8 text`,
  };
}
