/**
 * Shapes that values read from files are checked against before they are used. A file of ours may have been cut short,
 * emptied, or written by another program: it has the whole shape, or it counts as absent.
 */

export type Shape<T> = (value: unknown) => value is T;

/** A shape for each key, those that may be missing too. */
type Fields<T> = { readonly [K in keyof T]-?: (value: unknown) => boolean };

export const isText: Shape<string> = value => typeof value === 'string';
export const isTrue: Shape<true> = value => value === true;
export const isFlag: Shape<boolean> = value => typeof value === 'boolean';
export const isAnything: Shape<unknown> = (_): _ is unknown => true;

/** A whole number from `least` to `most`. */
export const within =
  (least: number, most: number): Shape<number> =>
  (value): value is number =>
    Number.isSafeInteger(value) && (value as number) >= least && (value as number) <= most;

export const isCount = within(0, Number.MAX_SAFE_INTEGER);

export const oneOf =
  <T extends string | number>(...values: readonly T[]): Shape<T> =>
  (value): value is T =>
    (values as readonly unknown[]).includes(value);

/** A text, or another value, that also passes a test of its own. */
export const such =
  <T>(shape: Shape<T>, test: (value: T) => boolean): Shape<T> =>
  (value): value is T =>
    shape(value) && test(value);

export const optional =
  <T>(shape: Shape<T>): Shape<T | undefined> =>
  (value): value is T | undefined =>
    value === undefined || shape(value);

export const either =
  <A, B>(a: Shape<A>, b: Shape<B>): Shape<A | B> =>
  (value): value is A | B =>
    a(value) || b(value);

export const listOf =
  <T>(each: (value: unknown) => value is T): Shape<readonly T[]> =>
  (value): value is readonly T[] =>
    Array.isArray(value) && value.every(each);

export const pairOf =
  <A, B>(a: Shape<A>, b: Shape<B>): Shape<readonly [A, B]> =>
  (value): value is readonly [A, B] =>
    Array.isArray(value) && value.length === 2 && a(value[0]) && b(value[1]);

export const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

export const mapOf =
  <T>(each: Shape<T>): Shape<Readonly<Record<string, T>>> =>
  (value): value is Readonly<Record<string, T>> =>
    isObject(value) && Object.values(value).every(each);

/** An object with these fields; further ones do no harm. */
export const objectOf =
  <T>(fields: Fields<T>): Shape<T> =>
  (value): value is T =>
    isObject(value) && Object.entries<(value: unknown) => boolean>(fields).every(([key, shape]) => shape(value[key]));
