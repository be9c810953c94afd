/**
 * The index of rules as two texts, of which most calls read the short one: the sets, and the gates, which a call needs where an
 * identity comes or goes.
 */
import { type GatesIndex, type PackedSets, packed, type SetsIndex, unpacked } from '../policy/compile/rules-index.ts';
import type { RuleChain } from '../policy/compile/ruleset.ts';
import { seal, sealed, unseal, unsealed } from '../state/sealed.ts';

interface Marked {
  /** Marker of the first table that had these rules. */
  readonly marker: number;
}

/** To be counted up wherever the shape of what is written changes, or what the kernel's table is made of it. */
const formats = { sets: 'sets 5', gates: 'gates 3' } as const;

/** Another one in a release that makes another table of the same rules. */
export const rulesFormat = Object.values(formats).join();

/** JSON knows no large numbers. */
const toText = (_: string, value: unknown): unknown => (typeof value === 'bigint' ? { bigint: String(value) } : value);
const fromText = (_: string, value: unknown): unknown =>
  value !== null && typeof value === 'object' && 'bigint' in value ? BigInt(value.bigint as string) : value;

/** To replace values takes several times as long, and few sets have large numbers, which JSON refuses. */
export function setsText(marker: number, sets: SetsIndex): string {
  const written = { marker, ...packed(sets) };
  try {
    return sealed(formats.sets, written);
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    return sealed(formats.sets, written, toText);
  }
}

type ChainHead = Omit<RuleChain, 'rules'>;

type WrittenGates = Marked & Omit<GatesIndex, 'chains'> & { readonly chains: readonly ChainHead[] };

/** The JSON of the rules of chains that were read, which most calls neither read nor change. */
const texts = new WeakMap<RuleChain, string>();

function chainIn(head: ChainHead, text: string): RuleChain {
  let rules: RuleChain['rules'] | undefined;
  const chain: RuleChain = {
    ...head,
    get rules() {
      rules ??= JSON.parse(text) as RuleChain['rules'];
      return rules;
    },
  };
  texts.set(chain, text);
  return chain;
}

/** Destructured, since a spread would have the rules parsed. */
const headOf = ({ name, direction, policies, otherwise, denies }: RuleChain): Record<keyof ChainHead, unknown> => ({
  ...{ name, direction, policies, otherwise, denies },
});

/** The index without rules, and then the rules of each chain in a line. */
export function gatesIndexText(marker: number, { chains, ...rest }: GatesIndex): string {
  const lines = chains.map(chain => texts.get(chain) ?? JSON.stringify(chain.rules));
  const index = JSON.stringify({ marker, ...rest, chains: chains.map(headOf) });
  return seal(formats.gates, [index, ...lines].join('\n'));
}

/** The sets in the text; undefined where it is not what we wrote under this marker. */
export function setsIn(marker: number, text: string | undefined): SetsIndex | undefined {
  const read = text?.includes('"bigint":') ? fromText : undefined;
  const found = unsealed<PackedSets & Marked>(formats.sets, text, read);
  return found?.marker === marker ? unpacked(found) : undefined;
}

/** The gates in the text; undefined where it is not what we wrote under this marker. */
export function gatesIndexIn(marker: number, text: string | undefined): GatesIndex | undefined {
  const [index, ...lines] = unseal(formats.gates, text)?.split('\n') ?? [];
  const found = index === undefined ? undefined : (JSON.parse(index) as WrittenGates);
  return found?.marker === marker
    ? { ...found, chains: found.chains.map((head, i) => chainIn(head, lines[i]!)) }
    : undefined;
}
