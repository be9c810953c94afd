/** Recorded flows and their sums for a person to read. */
import type { Entry, FlowEnd, FlowJudgement, FlowRecord, TranslatedEnd } from '../../flows/model.ts';
import type { SumKind, SumRow } from '../../flows/sums.ts';
import type { Direction } from '../../policy/model/model.ts';
import { type GridRow, grid } from '../columns.ts';
import { clock, endText, sumText } from './denied-lines.ts';

const end = ({ name, address }: FlowEnd): string => endText(name, address);

const placeText = ({ address, port }: TranslatedEnd): string => {
  const host = address.includes(':') && port !== null ? `[${address}]` : address;
  return port === null ? host : `${host}:${port}`;
};

const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'] as const;

export function bytesText(bytes: number): string {
  const power = bytes < 1 ? 0 : Math.min(Math.floor(Math.log2(bytes) / 10), units.length - 1);
  const amount = bytes / 1024 ** power;
  return `${power === 0 || amount >= 100 ? Math.round(amount) : amount.toFixed(1)} ${units[power]}`;
}

/** In a tier of cluster policies one rule decides; NetworkPolicies decide together. */
const decidersText = ({ tier, by, rules }: FlowJudgement): string =>
  tier === undefined || tier === 'NetworkPolicy' ? by.join(', ') : `${rules.join(', ')} (tier ${tier})`;

/** Policies of a tier decide without isolating; where none decides, `why` tells of the rest. */
function judgedBy(direction: Direction, judged: FlowJudgement): readonly string[] {
  if (judged.by.length > 0) return [`${direction} by ${decidersText(judged)}`];
  return judged.allowed ? [] : [`${direction}: ${judged.why}`];
}

/** Which policies decided: those that denied it alone, where one did. */
function because({ verdict, egress, ingress, doubt }: FlowRecord): string {
  if (doubt === 'busy') return 'policies were not asked: too many different flows at once';
  const words = (['egress', 'ingress'] as const).flatMap(direction => {
    const judged = direction === 'egress' ? egress : ingress;
    return !judged || (verdict === 'denied' && judged.allowed) ? [] : judgedBy(direction, judged);
  });
  const none = verdict === 'denied' ? 'what denied it is not known here' : 'no policy isolates it';
  const all = words.length === 0 ? none : words.join('; ');
  return doubt === 'changed' ? `${all} (policies were just changing)` : all;
}

/** What the staged policies would make of it; nothing where that is the same. */
function besides({ staged }: FlowRecord): string {
  if (!staged) return '';
  const by = staged.rules.length > 0 ? staged.rules : staged.by;
  return `, would be ${staged.verdict} by ${by.join(', ')} (staged)`;
}

export function flowText(flow: FlowRecord): string {
  const port = flow.port === null ? '' : ` ${flow.port}`;
  const counted = flow.sent && flow.received ? `  ${bytesText(flow.sent.bytes + flow.received.bytes)}` : '';
  const parts = [
    `${end(flow.from)} → ${end(flow.to)}${port}/${flow.protocol}`,
    ...(flow.sentTo ? [`sent to ${placeText(flow.sentTo)}`] : []),
    ...(flow.seenFrom ? [`seen as ${placeText(flow.seenFrom)}`] : []),
  ];
  return `${clock(flow.time)}  ${flow.verdict}  ${parts.join(', ')}  ${because(flow)}${besides(flow)}${counted}`;
}

export function entryText(entry: Entry): string {
  if (entry.kind === 'flow') return flowText(entry);
  if (entry.kind === 'sum') return sumText(entry);
  if (entry.kind === 'gap')
    return `${clock(entry.time)}  ${entry.changes} flows gave way to newer ones before they were read`;
  return `${clock(entry.time)}  ${entry.events} events were lost until ${clock(entry.until)}: flows that began and ended in between are not here`;
}

const portText = ({ port, protocol }: SumRow): string => (protocol === undefined ? '' : `${port ?? 'any'}/${protocol}`);

const heads: Readonly<Record<SumKind, readonly string[]>> = {
  ns: ['FROM', 'TO'],
  pod: ['FROM', 'TO', 'PORT'],
  policy: ['POLICY'],
};

const placeCells: Readonly<Record<SumKind, (row: SumRow) => readonly string[]>> = {
  ns: ({ from, to = '' }) => [from, to],
  pod: row => [row.from, row.to ?? '', portText(row)],
  policy: ({ from }) => [from],
};

/** Columns of staged policies stand there where these would change something. */
export function sumTable(kind: SumKind, rows: readonly SumRow[]): string {
  const isStaged = rows.some(({ wouldDeny, wouldAllow }) => wouldDeny + wouldAllow > 0);
  const cells = (row: SumRow): GridRow => [
    ...placeCells[kind](row),
    ...[String(row.denied), String(row.allowed)],
    ...(isStaged ? [String(row.wouldDeny), String(row.wouldAllow)] : []),
    ...[row.bytes === 0 ? '-' : bytesText(row.bytes), clock(row.last).slice(0, 5)],
  ];
  const staged = isStaged ? ['WOULD DENY', 'WOULD ALLOW'] : [];
  return grid([...heads[kind], 'DENIED', 'ALLOWED', ...staged, 'BYTES', 'LAST'], rows.map(cells));
}
