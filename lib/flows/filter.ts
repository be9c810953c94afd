/**
 * The one filter language of command line, API and page: `ns:shop pod:web* port:443 verdict:denied policy:shop/db
 * staged:denied ip:10.0.0.0/8 name:api.* -ns:mon`. Words of one kind widen each other, words of different kinds narrow each
 * other, and what stands behind a minus is left out whatever else holds.
 */
import { type Address, type Prefix, parseAddress, parsePrefix, prefixContains } from '../ip/address.ts';
import type { Pod } from '../policy/model/model.ts';
import { type FlowJudgement, protocolNamed, type StagedJudgement } from './model.ts';

/** The subject of a filter: a flow, or a sum of flows, whose ends then have no addresses. */
export interface Filterable {
  readonly from: FilteredEnd;
  readonly to: FilteredEnd;
  readonly protocol: string;
  readonly port: number | null;
  readonly verdict: 'allowed' | 'denied';
  readonly sentTo?: { readonly address: string; readonly port: number | null } | null;
  readonly seenFrom?: { readonly address: string; readonly port: number | null } | null;
  readonly egress: Pick<FlowJudgement, 'by'> | null;
  readonly ingress: Pick<FlowJudgement, 'by'> | null;
  readonly staged?: Pick<StagedJudgement, 'verdict' | 'by'>;
}

interface FilteredEnd {
  readonly name: string;
  readonly address?: string;
  readonly namespace?: string;
  readonly pod?: string;
}

export type Filter = (flow: Filterable) => boolean;

/** A word that no filter knows, or whose value means nothing. */
export class FilterError extends Error {
  override readonly name = 'FilterError';
}

/** Longer than any filter that a person types, and short enough for any number of flows. */
const MOST_WORDS = 50;
const LONGEST = 2000;

/**
 * Whether the text is what the pattern says, where `*` stands for any text, none too. Linear in the text for each star, so
 * that no pattern makes the agent busy.
 */
export function matchesPattern(pattern: string, text: string): boolean {
  const parts = pattern.split('*');
  if (parts.length === 1) return text === pattern;
  const [first, last] = [parts[0]!, parts.at(-1)!];
  if (text.length < first.length + last.length || !text.startsWith(first) || !text.endsWith(last)) return false;
  let at = first.length;
  for (const part of parts.slice(1, -1)) {
    const found = text.indexOf(part, at);
    if (found < 0) return false;
    at = found + part.length;
  }
  return at <= text.length - last.length;
}

const ends = ({ from, to }: Filterable): readonly FilteredEnd[] => [from, to];

const some =
  (test: (end: FilteredEnd) => boolean): Filter =>
  flow =>
    ends(flow).some(test);

const isText = (text: string | undefined, pattern: string): boolean =>
  text !== undefined && matchesPattern(pattern, text);

/** `web*` of any namespace, or `shop/web*`. */
const pod = (pattern: string): Filter =>
  pattern.includes('/')
    ? some(end => end.pod !== undefined && isText(end.name, pattern))
    : some(end => isText(end.pod, pattern));

/** `443`, `443/TCP`, `8000-8999`, `/UDP`. */
function port(text: string): Filter {
  const [, first, last, word] = /^(?:(\d{1,5})(?:-(\d{1,5}))?)?(?:\/([A-Za-z0-9]+))?$/.exec(text) ?? [];
  const [low, high] = first === undefined ? [0, 65_535] : [Number(first), Number(last ?? first)];
  const protocol = word === undefined ? undefined : protocolNamed(word);
  const isMeant = (first ?? word) !== undefined && low <= high && high <= 65_535;
  if (!isMeant || (word !== undefined && protocol === undefined))
    throw new FilterError(
      `Cannot use "port:${text}": give a port, a range or a protocol, as in port:443/TCP, port:8000-8999, port:/UDP`,
    );
  const isOfRange = (number: number | null | undefined) =>
    first === undefined || (typeof number === 'number' && low <= number && number <= high);
  return flow =>
    (protocol === undefined || flow.protocol === protocol) && (isOfRange(flow.port) || isOfRange(flow.sentTo?.port));
}

const verdict = (text: string): Filter => {
  if (text !== 'allowed' && text !== 'denied')
    throw new FilterError(`Cannot use "verdict:${text}": it is verdict:allowed or verdict:denied`);
  return flow => flow.verdict === text;
};

/** Whether a reference is named by `db`, `shop/db` or `NetworkPolicy/shop/db`. */
const namedBy = (pattern: string): ((ref: string) => boolean) => {
  const parts = pattern.split('/').length;
  return ref => matchesPattern(pattern, ref.split('/').slice(-parts).join('/'));
};

/** That policy decided in either direction. `policy:none`: no policy did. */
const policy = (pattern: string): Filter => {
  const isNamed = namedBy(pattern);
  const by = ({ egress, ingress }: Filterable) => [...(egress?.by ?? []), ...(ingress?.by ?? [])];
  return pattern === 'none' ? flow => by(flow).length === 0 : flow => by(flow).some(isNamed);
};

/** `denied` or `allowed`, as it would be with the staged policies; `none`: as it is; else the name of a staged policy. */
const staged = (text: string): Filter => {
  if (text === 'none') return flow => flow.staged === undefined;
  if (text === 'denied' || text === 'allowed') return flow => flow.staged?.verdict === text;
  const isNamed = namedBy(text);
  return flow => flow.staged?.by.some(isNamed) === true;
};

function prefixOf(text: string): Prefix {
  const prefix = parsePrefix(text);
  if (prefix) return prefix;
  const address = parseAddress(text);
  if (!address) throw new FilterError(`Cannot use "ip:${text}": give an address or a prefix, as in ip:10.0.0.0/8`);
  return { ...address, length: address.family === 4 ? 32 : 128 };
}

/** Matches the address of either end, translated or not. */
function ip(text: string): Filter {
  const prefix = prefixOf(text);
  const parsed = new Map<string, Address | undefined>();
  const isIn = (address: string | undefined): boolean => {
    if (address === undefined) return false;
    if (!parsed.has(address)) {
      // A bound, since addresses of others come without end.
      if (parsed.size > 1000) parsed.clear();
      parsed.set(address, parseAddress(address));
    }
    const found = parsed.get(address);
    return found !== undefined && prefixContains(prefix, found);
  };
  return flow =>
    isIn(flow.from.address) || isIn(flow.to.address) || isIn(flow.sentTo?.address) || isIn(flow.seenFrom?.address);
}

const kinds: Readonly<Record<string, (value: string) => Filter>> = {
  ns: pattern => some(end => isText(end.namespace, pattern)),
  pod,
  port,
  verdict,
  policy,
  staged,
  ip,
  name: pattern => some(end => isText(end.name, pattern)),
};

const filterWords: readonly string[] = Object.keys(kinds);

function termOf(word: string): { readonly kind: string; readonly isExcluded: boolean; readonly filter: Filter } {
  const isExcluded = word.startsWith('-');
  const text = isExcluded ? word.slice(1) : word;
  const colon = text.indexOf(':');
  const kind = text.slice(0, Math.max(colon, 0));
  const of = Object.hasOwn(kinds, kind) ? kinds[kind] : undefined;
  const value = text.slice(colon + 1);
  if (!of || value === '')
    throw new FilterError(
      `Cannot filter by ${JSON.stringify(word)}: give KIND:VALUE with one of ${filterWords.map(name => `${name}:`).join(' ')}, and a minus before it to leave such flows out`,
    );
  return { kind, isExcluded, filter: of(value) };
}

/** @throws FilterError */
function termsOf(text: string): readonly ReturnType<typeof termOf>[] {
  if (text.length > LONGEST)
    throw new FilterError(`Cannot use a filter of ${text.length} characters: ${LONGEST} at most`);
  const words = text.split(/\s+/).filter(word => word !== '');
  if (words.length > MOST_WORDS)
    throw new FilterError(`Cannot use a filter of ${words.length} words: ${MOST_WORDS} at most`);
  return words.map(termOf);
}

function filterOf(terms: ReturnType<typeof termsOf>): Filter {
  const excluded = terms.filter(({ isExcluded }) => isExcluded).map(({ filter }) => filter);
  const wanted = [
    ...Map.groupBy(
      terms.filter(({ isExcluded }) => !isExcluded),
      ({ kind }) => kind,
    ).values(),
  ];
  return flow =>
    wanted.every(alternatives => alternatives.some(({ filter }) => filter(flow))) &&
    !excluded.some(filter => filter(flow));
}

/** @param text words, apart by blanks; none at all holds for every flow. @throws FilterError */
export const parseFilter = (text: string): Filter => filterOf(termsOf(text));

/** Words that tell pods apart; all others tell flows apart. */
const ofPods: readonly string[] = ['ns', 'pod', 'ip', 'name'];

/** Whether a pod is one that the words ask for; words that tell flows apart are passed over. @throws FilterError */
export function parsePodFilter(text: string): (pod: Pick<Pod, 'namespace' | 'name' | 'addresses'>) => boolean {
  const filter = filterOf(termsOf(text).filter(({ kind }) => ofPods.includes(kind)));
  return ({ namespace, name, addresses }) => {
    const end = { namespace, pod: name, name: `${namespace}/${name}` };
    const withAddress = (address: string | undefined) => (address === undefined ? end : { ...end, address });
    const [from, to] = [withAddress(addresses[0]), withAddress(addresses[1])];
    return filter({ from, to, protocol: '', port: null, verdict: 'allowed', egress: null, ingress: null });
  };
}

/** Whether the filter asks for addresses, which sums do not have. */
export const asksForAddresses = (text: string): boolean => /(^|\s)-?ip:/.test(text);
