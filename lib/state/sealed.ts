/**
 * Values that one process of ours writes for the next, and that can be made anew: a checksum tells that the text is whole and
 * that it was written in the format of this release, so that its shape need not be looked at part by part.
 */

/** CRC-32 of format and text, in hex. The module is loaded by calls that have such a file. */
export function checksum(format: string, text: string): string {
  const { crc32 } = process.getBuiltinModule('node:zlib');
  return crc32(text, crc32(format)).toString(16).padStart(8, '0');
}

export const seal = (format: string, text: string): string => `${checksum(format, text)} ${text}`;

/** The text; undefined where there is none, or `seal` did not write it in this format. */
export function unseal(format: string, found: string | undefined): string | undefined {
  const text = found?.slice(9) ?? '';
  return found?.slice(0, 9) === `${checksum(format, text)} ` ? text : undefined;
}

/** @param format another one wherever the value's shape is another @param replacer as that of JSON.stringify */
export const sealed = (format: string, value: unknown, replacer?: (key: string, value: unknown) => unknown): string =>
  seal(format, JSON.stringify(value, replacer));

/** The value; undefined where there is no text, or `sealed` did not write it in this format. */
export function unsealed<T>(
  format: string,
  text: string | undefined,
  reviver?: (key: string, value: unknown) => unknown,
): T | undefined {
  const json = unseal(format, text);
  return json === undefined ? undefined : (JSON.parse(json, reviver) as T);
}
