/** A flow in words. */
import type { Entry, FlowRecord, StagedJudgement, TranslatedEnd } from '../../../flows/model.ts';

// To make one takes a hundred times as long as to use it.
const time = new Intl.DateTimeFormat([], { timeStyle: 'medium', hourCycle: 'h23' });

export const clock = (seconds: number): string => time.format(seconds * 1000);

/** Of sums, which know the minute alone. */
export const minuteClock = (seconds: number): string =>
  new Date(seconds * 1000).toLocaleTimeString([], { hour12: false, hour: '2-digit', minute: '2-digit' });

export const placeText = ({ address, port }: TranslatedEnd): string => (port === null ? address : `${address} ${port}`);

export const targetText = ({ to, port, protocol }: FlowRecord): string =>
  `${to.name}  ${port === null ? '' : port}/${protocol}`;

export function bytesText({ sent, received }: FlowRecord): string {
  if (!sent || !received) return '';
  const bytes = sent.bytes + received.bytes;
  if (bytes < 1024) return `${bytes} B`;
  const power = Math.min(Math.floor(Math.log2(bytes) / 10), 4);
  return `${(bytes / 1024 ** power).toFixed(1)} ${['B', 'KiB', 'MiB', 'GiB', 'TiB'][power]}`;
}

/** `shop/web` of `NetworkPolicy/shop/web`. */
export const withoutKind = (ref: string): string => ref.split('/').slice(1).join('/');

/** What the staged policies would make of it. */
export const stagedText = ({ verdict, by }: StagedJudgement): string =>
  `would be ${verdict} by ${by.map(withoutKind).join(', ')} (staged)`;

/** Policies that decided, without their kind. */
export function byText({ egress, ingress, verdict, doubt }: FlowRecord): string {
  if (doubt === 'busy') return 'policies were not asked';
  const deciding = [egress, ingress].filter(each => each && (verdict === 'allowed' || !each.allowed));
  const names = [...new Set(deciding.flatMap(each => each?.by ?? []))].map(withoutKind);
  return names.length === 0 ? 'no policy' : names.join(', ');
}

export function noteText(note: Exclude<Entry, FlowRecord>): string {
  const at = clock(note.time);
  if (note.kind === 'loss')
    return `${at}  ${note.events} events were lost until ${clock(note.until)}: flows that began and ended in between are not here`;
  if (note.kind === 'gap') return `${at}  ${note.changes} flows gave way to newer ones before they were read`;
  return `${at}  and ${note.packets} more denied packets (${note.direction}, ${note.by.join(', ') || 'unknown tag'})`;
}
