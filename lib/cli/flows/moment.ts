/** Times before now, as a person gives them. */
import { UsageError } from '../command.ts';

const spans: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3600, d: 86_400 };

/** `90s`, `10m`, `2h`, `1d` before now. @returns seconds since 1970 @throws UsageError */
export function momentBefore(text: string): number {
  const [, digits, unit] = /^(\d{1,6})([smhd])$/.exec(text) ?? [];
  if (digits === undefined || unit === undefined)
    throw new UsageError(`Cannot use ${JSON.stringify(text)} as --since: give a time, as in 90s, 10m, 2h or 1d`);
  return Date.now() / 1000 - Number(digits) * spans[unit]!;
}
