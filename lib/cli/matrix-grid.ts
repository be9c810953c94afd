/** Who may reach whom, on a terminal: in words where that fits, else in signs, pods of one identity together. */
import type { Row, Traffic } from '../policy/matrix.ts';
import type { Pod } from '../policy/model.ts';
import { describeIdentity, identityKey } from '../tag/identity.ts';
import { grid } from './grid.ts';

/** Rows and columns of the picture: pods, or all pods of one identity. */
interface Group {
  readonly label: string;
  readonly members: readonly string[];
}

type Pairs = ReadonlyMap<string, readonly Row[]>;

const pairKey = (from: string, to: string): string => `${from} ${to}`;
const none: readonly Row[] = [];

/** Where both families agree one word will do. */
function word(rows: readonly Row[]): string {
  if (rows.length === 0) return '-';
  if (rows.every(({ allowed }) => allowed)) return 'yes';
  if (rows.every(({ allowed }) => !allowed)) return 'no';
  return rows.map(({ family, allowed }) => (allowed ? `v${family}` : '')).join('');
}

function inWords(names: readonly string[], pairs: Pairs): string {
  const numbers = names.map((_, i) => String(i + 1));
  const body = names.map((from, i) => [
    numbers[i]!,
    from,
    ...names.map(to => (from === to ? '.' : word(pairs.get(pairKey(from, to)) ?? none))),
  ]);
  return grid(['', '', ...numbers], body);
}

const signs: Readonly<Record<string, string>> = { yes: '+', no: 'x', '-': '-', v4: '4', v6: '6' };

/** One sign for all pairs of two groups. */
function sign(from: Group, to: Group, pairs: Pairs): string {
  const words = new Set<string>();
  for (const a of from.members)
    for (const b of to.members) if (a !== b) words.add(word(pairs.get(pairKey(a, b)) ?? none));
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

function legend(drawn: string): string {
  const used = meanings.filter(([each]) => drawn.includes(each));
  return used.map(([each, meaning]) => `${each} ${meaning}`).join('   ');
}

/** Numbers from top to bottom, so that a column need not be wider than its signs. */
function numberLines(numbers: readonly number[], width: number): readonly string[] {
  const texts = numbers.map(number => String(number).padStart(width));
  return Array.from({ length: width }, (_, line) => texts.map(text => text[line]).join(' '));
}

/** As many columns at once as fit, one piece below the other. */
function inSigns(groups: readonly Group[], pairs: Pairs, width: number): string {
  const digits = String(groups.length).length;
  const longest = Math.max(...groups.map(({ label }) => label.length));
  const labels = Math.min(longest, Math.max(12, Math.floor(width / 3)));
  const cut = (text: string): string => (text.length > labels ? `${text.slice(0, labels - 1)}~` : text.padEnd(labels));
  const margin = digits + 2 + labels + 2;
  const count = Math.max(1, Math.floor((width - margin + 1) / 2));
  const rows = groups.map(from => groups.map(to => sign(from, to, pairs)));
  const pieces: string[] = [];
  for (let start = 0; start < groups.length; start += count) {
    const columns = groups.slice(start, start + count).map((_, i) => start + i);
    const heads = numberLines(
      columns.map(column => column + 1),
      digits,
    ).map(line => `${' '.repeat(margin)}${line}`);
    const body = groups.map(({ label }, i) => {
      const cells = columns.map(column => rows[i]![column]).join(' ');
      return `${String(i + 1).padStart(digits)}  ${cut(label)}  ${cells}`;
    });
    pieces.push([...heads, ...body].map(line => line.trimEnd()).join('\n'));
  }
  return `${pieces.join('\n\n')}\n\n${legend(rows.flat().join(''))}`;
}

const nameOf = ({ namespace, name }: Pod): string => `${namespace}/${name}`;

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

/** The rows of one pair of pods for each pair of groups. */
const spokesmen = (groups: readonly Group[], pairs: Pairs): readonly Row[] =>
  groups.flatMap(({ members: [from] }) =>
    groups.flatMap(({ members }) => {
      const to = members.find(member => member !== from);
      return to === undefined ? [] : (pairs.get(pairKey(from!, to)) ?? none);
    }),
  );

/** So many reasons are read; more are counted. */
const enough = 20;

function reasonsOf(rows: readonly Row[], most: number): readonly string[] {
  const sentences = rows.flatMap(({ from, to, allowed, egress, ingress }) => {
    const denial = egress.allowed ? ingress : egress;
    return allowed ? [] : [`${from} to ${to}: ${denial.why}`];
  });
  const unique = [...new Set(sentences)];
  const shown = unique.slice(0, most).map(sentence => `  ${sentence}`);
  return unique.length > most ? [...shown, `  and ${unique.length - most} more: -o html shows them all`] : shown;
}

const denied = (reasons: readonly string[]): string =>
  reasons.length === 0 ? '' : `\nDenied:\n${reasons.join('\n')}\n`;

/** @param width of the terminal, in columns */
export function matrixText(
  rows: readonly Row[],
  pods: readonly Pod[],
  { port, protocol }: Traffic,
  width: number,
): string {
  const names = [...new Set(rows.flatMap(({ from, to }) => [from, to]))];
  const pairs = Map.groupBy(rows, ({ from, to }) => pairKey(from, to));
  const title = `Who may open ${port}/${protocol} to whom: row to column\n\n`;
  const words = names.length <= width ? inWords(names, pairs) : '';
  if (words !== '' && words.split('\n').every(line => line.length <= width))
    return `${title}${words}${denied(reasonsOf(rows, Number.POSITIVE_INFINITY))}`;
  const groups = groupsOf(names, pods);
  const legends = groups.flatMap((group, i) => (group.members.length > 1 ? [`${i + 1}: ${membersText(group)}`] : []));
  const who =
    legends.length === 0 ? '' : `\nPods that share an identity:\n${legends.map(line => `  ${line}\n`).join('')}`;
  const shown = spokesmen(groups, pairs);
  return `${title}${inSigns(groups, pairs, width)}\n${who}${denied(reasonsOf(shown, enough))}`;
}
