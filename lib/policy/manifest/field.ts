/** Reading one object of a manifest: each field knows its path, and says there what is wrong and what to write instead. */
import { meantKey } from '../../cni/spelling.ts';
import { withoutLeadingZeros } from '../../ip/address.ts';
import { printable } from '../../tag/printable.ts';
import type { Severity } from '../model/problem.ts';

export type { Problem } from '../model/problem.ts';

export type Report = (severity: Severity, field: string, message: string) => void;

/** A value of a manifest at its place. null and absent are the same, as they are for the API. */
export interface Field {
  readonly value: unknown;
  readonly path: string;
  readonly report: Report;
}

export const isAbsent = ({ value }: Field): boolean => value === undefined || value === null;

export function complain({ report, path }: Field, message: string): undefined {
  report('error', path, message);
}

export const warn = ({ report, path }: Field, message: string): void => report('warning', path, message);

const shortened = (text: string): string => (text.length > 80 ? `${text.slice(0, 80)}…` : text);

/** The value as its author wrote it, short enough for a message. */
export function shown(value: unknown): string {
  if (value === undefined || value === null) return 'nothing';
  if (Array.isArray(value)) return 'a list';
  if (typeof value === 'object') return isMapping(value) ? 'a mapping' : 'something of another type';
  const text = printable(typeof value === 'string' ? JSON.stringify(value) : String(value));
  return shortened(text);
}

/** `"admin" is no tier`, or `No tier is given`. */
export const isNo = (value: unknown, what: string): string =>
  value === undefined || value === null ? `No ${what} is given` : `${shown(value)} is no ${what}`;

/** A plain one: what YAML's own tags make (`!!set`) would look empty. */
export function isMapping(value: unknown): value is Readonly<Record<string, unknown>> {
  if (typeof value !== 'object' || value === null) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}

/** The member of a mapping; absent where there is none or this is no mapping. */
export function member({ value, path, report }: Field, key: string): Field {
  const found = isMapping(value) && Object.hasOwn(value, key) ? value[key] : undefined;
  const name = shortened(printable(key));
  return { value: found, path: path === '' ? name : `${path}.${name}`, report };
}

/** The mapping's members; undefined, and reported, where it is none. Absent is empty. */
export function membersOf(field: Field): readonly (readonly [string, Field])[] | undefined {
  if (isAbsent(field)) return [];
  if (!isMapping(field.value)) return complain(field, `${shown(field.value)} where a mapping is expected`);
  return Object.keys(field.value).map(key => [key, member(field, key)] as const);
}

/** The list's items; undefined, and reported, where it is none. Absent, null and [] are the same. */
export function itemsOf(field: Field): readonly Field[] | undefined {
  if (isAbsent(field)) return [];
  if (!Array.isArray(field.value))
    return complain(field, `${shown(field.value)} where a list is expected: begin each entry with "- "`);
  return field.value.map((value: unknown, i) => ({ value, path: `${field.path}[${i}]`, report: field.report }));
}

function spelling(key: string, known: readonly string[]): string {
  const meant = known.find(word => word.toLowerCase() === key.toLowerCase()) ?? meantKey(key, known);
  return meant === undefined ? `known are ${known.join(', ')}` : `write "${meant}"`;
}

/** Whether this is a mapping (or absent) of known fields only. Other fields are reported; `instead` says what follows. */
export function holdsOnly(field: Field, known: readonly string[], instead: string): boolean {
  const members = membersOf(field);
  if (!members) return false;
  const unknown = members.filter(([key]) => !known.includes(key));
  for (const [key, at] of unknown) complain(at, `Unknown field, so ${instead}: ${spelling(key, known)}`);
  return unknown.length === 0;
}

/** The text; undefined, and reported, where there is none: YAML reads yes and 1.0 as other things. */
export function textOf(field: Field, expected: string): string | undefined {
  if (typeof field.value === 'string') return field.value;
  const scalar = typeof field.value === 'number' || typeof field.value === 'boolean';
  return complain(field, `${shown(field.value)} where ${expected} is expected${scalar ? ': write it in quotes' : ''}`);
}

/** The flag; undefined where it is absent, or (reported) neither true nor false. */
export function flagOf(field: Field): boolean | undefined {
  if (isAbsent(field) || typeof field.value === 'boolean') return field.value as boolean | undefined;
  return complain(field, `${shown(field.value)} where true or false is expected`);
}

/**
 * Parses a number whose leading zeros mean nothing, and warns where there are any, since other programs read octal.
 * @param api what API servers do with them
 */
export function decimal<T>(
  field: Field,
  text: string,
  parse: (text: string) => T | undefined,
  api = 'as API servers take them',
): T | undefined {
  const found = parse(text);
  if (found !== undefined) return found;
  const plain = withoutLeadingZeros(text);
  const meant = plain === text ? undefined : parse(plain);
  if (meant !== undefined)
    warn(field, `${shown(text)} has leading zeros, which are taken for decimal, ${api}: write ${shown(plain)}`);
  return meant;
}
