/**
 * Values that one process of ours writes for the next, and that can be made anew: a checksum tells that the text is whole and
 * that it was written in the format of this release, so that its shape need not be looked at part by part.
 */
import { parseJson } from './atomic.ts';

/** CRC-32 of format and text, in hex. The module is loaded by calls that have such a file. */
export function checksum(format: string, text: string): string {
  const { crc32 } = process.getBuiltinModule('node:zlib');
  return crc32(text, crc32(format)).toString(16).padStart(8, '0');
}

/** @param format another one wherever the value's shape is another @param replacer as that of JSON.stringify */
export function sealed(format: string, value: unknown, replacer?: (key: string, value: unknown) => unknown): string {
  const text = JSON.stringify(value, replacer);
  return `${checksum(format, text)} ${text}`;
}

/** The value; undefined where there is no text, or `sealed` did not write it in this format. */
export function unsealed<T>(
  format: string,
  text: string | undefined,
  reviver?: (key: string, value: unknown) => unknown,
): T | undefined {
  const json = text?.slice(9) ?? '';
  if (text?.slice(0, 9) !== `${checksum(format, json)} `) return undefined;
  const found = parseJson(json, reviver);
  return found.kind === 'value' ? (found.value as T) : undefined;
}
