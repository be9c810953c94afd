/** The matrix on a terminal: in words where they fit, else in signs, pods of one identity together. */
import { nameOf } from '../../policy/evaluate/matrix.ts';
import { type JudgedPair, type MatrixJudge, reasonOf, titleOf } from '../../policy/evaluate/matrix-judge.ts';
import type { StagedMatrix } from '../../policy/evaluate/matrix-staged.ts';
import type { Pod } from '../../policy/model/model.ts';
import { describeIdentity, identityKey } from '../../tag/identity.ts';
import { grid } from '../columns.ts';

/** Rows and columns of the picture: pods, or all pods of one identity. */
interface Group {
  readonly label: string;
  readonly members: readonly string[];
}

/** Bits, by family, of the verdicts that the rows of one pair of names have together. */
const ALLOWED: Readonly<Record<number, number>> = { 4: 1, 6: 2, 0: 4 };
const DENIED: Readonly<Record<number, number>> = { 4: 8, 6: 16, 0: 32 };
const anyAllowed = 1 | 2 | 4;
const anyDenied = 8 | 16 | 32;

/** A byte for each pair of names, however many pods there are. */
class Cells {
  readonly #places: ReadonlyMap<string, number>;
  readonly #said: Uint8Array;

  constructor(judge: MatrixJudge) {
    const names = [...new Set(judge.pods.map(nameOf))];
    this.#places = new Map(names.map((name, i) => [name, i]));
    const places = judge.pods.map(pod => this.#places.get(nameOf(pod))!);
    this.#said = new Uint8Array(names.length * names.length);
    for (const { from, to, family, allowed } of judge)
      this.#said[places[from.place]! * names.length + places[to.place]!]! |= (allowed ? ALLOWED : DENIED)[family ?? 0]!;
  }

  get names(): readonly string[] {
    return [...this.#places.keys()];
  }

  #at(from: string, to: string): number {
    return this.#places.get(from)! * this.#places.size + this.#places.get(to)!;
  }

  /** One word where both families agree. */
  word(from: string, to: string): string {
    const said = this.#said[this.#at(from, to)]!;
    if (said === 0) return '-';
    if ((said & anyDenied) === 0) return 'yes';
    if ((said & anyAllowed) === 0) return 'no';
    return ([4, 6] as const).map(family => ((said & ALLOWED[family]!) !== 0 ? `v${family}` : '')).join('');
  }
}

function inWords(cells: Cells): string {
  const { names } = cells;
  const numbers = names.map((_, i) => String(i + 1));
  const body = names.map((from, i) => [
    numbers[i]!,
    from,
    ...names.map(to => (from === to ? '.' : cells.word(from, to))),
  ]);
  return grid(['', '', ...numbers], body);
}

const signs: Readonly<Record<string, string>> = { yes: '+', no: 'x', '-': '-', v4: '4', v6: '6' };

/** One sign for all pairs of two groups. */
function sign(from: Group, to: Group, cells: Cells): string {
  const words = new Set<string>();
  for (const a of from.members) for (const b of to.members) if (a !== b) words.add(cells.word(a, b));
  if (words.size === 0) return '.';
  const [only] = words;
  return words.size === 1 ? (signs[only!] ?? '~') : '~';
}

const meanings: readonly (readonly [string, string])[] = [
  ['+', 'allowed'],
  ['x', 'denied'],
  ['4', 'IPv4 alone'],
  ['6', 'IPv6 alone'],
  ['~', 'some of its pods'],
  ['-', 'no address family in common'],
  ['.', 'itself'],
];

function legend(drawn: ReadonlySet<string>): string {
  const used = meanings.filter(([each]) => drawn.has(each));
  return used.map(([each, meaning]) => `${each} ${meaning}`).join('   ');
}

/** Numbers from top to bottom, so that a column need not be wider than its signs. */
function numberLines(numbers: readonly number[], width: number): readonly string[] {
  const texts = numbers.map(number => String(number).padStart(width));
  return Array.from({ length: width }, (_, line) => texts.map(text => text[line]).join(' '));
}

/** Splits the grid into pieces of as many columns as fit, one below the other. */
function inSigns(groups: readonly Group[], cells: Cells, width: number): string {
  const digits = String(groups.length).length;
  const longest = groups.reduce((most, { label }) => Math.max(most, label.length), 0);
  const labels = Math.min(longest, Math.max(12, Math.floor(width / 3)));
  const cut = (text: string): string => (text.length > labels ? `${text.slice(0, labels - 1)}~` : text.padEnd(labels));
  const margin = digits + 2 + labels + 2;
  const count = Math.max(1, Math.floor((width - margin + 1) / 2));
  const rows = groups.map(from => groups.map(to => sign(from, to, cells)));
  const pieces: string[] = [];
  for (let start = 0; start < groups.length; start += count) {
    const columns = groups.slice(start, start + count).map((_, i) => start + i);
    const heads = numberLines(
      columns.map(column => column + 1),
      digits,
    ).map(line => `${' '.repeat(margin)}${line}`);
    const body = groups.map(({ label }, i) => {
      const line = columns.map(column => rows[i]![column]).join(' ');
      return `${String(i + 1).padStart(digits)}  ${cut(label)}  ${line}`;
    });
    pieces.push([...heads, ...body].map(line => line.trimEnd()).join('\n'));
  }
  return `${pieces.join('\n\n')}\n\n${legend(new Set(rows.flat()))}`;
}

/** Pods that policies cannot tell apart by labels, in the order in which they came. */
function groupsOf(names: readonly string[], pods: readonly Pod[]): readonly Group[] {
  const byName = new Map(pods.map(pod => [nameOf(pod), pod]));
  const groups = Map.groupBy(names, name => {
    const pod = byName.get(name);
    return pod ? identityKey(pod) : name;
  });
  const described = [...groups.values()].map(members => ({ members, pod: byName.get(members[0]!) }));
  const brief = described.map(({ pod }) => pod && describeIdentity({ ...pod, namedPorts: [] }));
  return described.map(({ members, pod }, i) => {
    if (members.length === 1 || !pod) return { label: members[0]!, members };
    const isClear = brief.filter(text => text === brief[i]).length === 1;
    return { label: `${isClear ? brief[i] : describeIdentity(pod)} (${members.length})`, members };
  });
}

function membersText({ members }: Group): string {
  const own = members.map(name => name.slice(name.indexOf('/') + 1));
  return own.length <= 4 ? own.join(', ') : `${own.slice(0, 3).join(', ')} and ${own.length - 3} more`;
}

/** One pair of pods for each pair of groups. */
function* spokesmen(groups: readonly Group[], judge: MatrixJudge): Generator<JudgedPair> {
  const pods = new Map(judge.pods.map(pod => [nameOf(pod), pod]));
  for (const { members: others } of groups)
    for (const { members } of groups) {
      const to = members.find(member => member !== others[0]);
      if (to !== undefined) yield* judge.between(pods.get(others[0]!)!, pods.get(to)!);
    }
}

/** Reasons that are printed; more are counted. */
const enough = 20;

/** Both families of a pair come one after the other, and mostly for the same reason. */
function denied(pairs: Iterable<JudgedPair>, most: number): string {
  const shown: string[] = [];
  let more = 0;
  let last: string | undefined;
  for (const pair of pairs) {
    if (pair.allowed) continue;
    const { from, to, egress, ingress } = pair;
    const sentence = `  ${from.name} to ${to.name}: ${reasonOf(egress.allowed ? ingress : egress, pair)}`;
    const isAgain = sentence === last;
    last = sentence;
    if (isAgain) continue;
    if (shown.length < most) shown.push(sentence);
    else more++;
  }
  if (more > 0) shown.push(`  and ${more} more: -o html shows them all`);
  return shown.length === 0 ? '' : `\nDenied:\n${shown.join('\n')}\n`;
}

/** @param width of the terminal, in columns */
export function matrixText(judge: MatrixJudge, width: number): string {
  const cells = new Cells(judge);
  const { names } = cells;
  const title = `${titleOf(judge.traffic)}: row to column\n\n`;
  const words = names.length <= width ? inWords(cells) : '';
  if (words !== '' && words.split('\n').every(line => line.length <= width))
    return `${title}${words}${denied(judge, Number.POSITIVE_INFINITY)}`;
  const groups = groupsOf(names, judge.pods);
  const legends = groups.flatMap((group, i) => (group.members.length > 1 ? [`${i + 1}: ${membersText(group)}`] : []));
  const who =
    legends.length === 0 ? '' : `\nPods that share an identity:\n${legends.map(line => `  ${line}\n`).join('')}`;
  return `${title}${inSigns(groups, cells, width)}\n${who}${denied(spokesmen(groups, judge), enough)}`;
}

/** The changes that staged policies would make; empty where there are none. @param refs of the staged policies */
export function stagedText(pairs: StagedMatrix, refs: readonly string[]): string {
  if (!pairs.hasStaged) return '';
  const shown: string[] = [];
  let more = 0;
  for (const { staged } of pairs.moved()) {
    const { from, to, allowed, egress, ingress } = staged;
    const why = reasonOf(egress.allowed ? ingress : egress, staged);
    const line = `  ${from.name} to ${to.name}: ${allowed ? 'allowed' : 'denied'}, ${why}`;
    if (shown.includes(line)) continue;
    if (shown.length < enough) shown.push(line);
    else more++;
  }
  if (more > 0) shown.push(`  and ${more} more: policy diff --staged shows them all`);
  const head = `If the staged policies were in force (${refs.join(', ')})`;
  return shown.length === 0 ? `\n${head}, the same would pass.\n` : `\n${head}:\n${shown.join('\n')}\n`;
}
