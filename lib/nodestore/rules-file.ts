/**
 * The index of rules as two texts, of which most calls read the short one: the sets, and the gates, which a call needs where an
 * identity comes or goes.
 */
import { type GatesIndex, type PackedSets, packed, type SetsIndex, unpacked } from '../policy/compile/rules-index.ts';
import { sealed, unsealed } from '../state/sealed.ts';

interface Marked {
  /** Marker of the first table that had these rules. */
  readonly marker: number;
}

/** To be counted up wherever the shape of what is written changes. */
const formats = { sets: 'sets 3', gates: 'gates 1' } as const;

/** JSON knows no large numbers. */
const toText = (_: string, value: unknown): unknown => (typeof value === 'bigint' ? { bigint: String(value) } : value);
const fromText = (_: string, value: unknown): unknown =>
  value !== null && typeof value === 'object' && 'bigint' in value ? BigInt(value.bigint as string) : value;

export const setsText = (marker: number, sets: SetsIndex): string =>
  sealed(formats.sets, { marker, ...packed(sets) }, toText);

export const gatesIndexText = (marker: number, gates: GatesIndex): string =>
  sealed(formats.gates, { marker, ...gates });

const ifOf = <T extends Marked>(marker: number, found: T | undefined): T | undefined =>
  found?.marker === marker ? found : undefined;

/** The sets in the text; undefined where it is not what we wrote under this marker. */
export function setsIn(marker: number, text: string | undefined): SetsIndex | undefined {
  const read = text?.includes('"bigint":') ? fromText : undefined;
  const found = ifOf(marker, unsealed<PackedSets & Marked>(formats.sets, text, read));
  return found && unpacked(found);
}

/** The gates in the text; undefined where it is not what we wrote under this marker. */
export const gatesIndexIn = (marker: number, text: string | undefined): GatesIndex | undefined =>
  ifOf(marker, unsealed<GatesIndex & Marked>(formats.gates, text));
