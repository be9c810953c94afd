/**
 * Manual pages, out of what the executable says for `--help`: one source for both.
 *
 * @see groff_man(7)
 */
import { execFileSync } from 'node:child_process';
import type { About } from './about.ts';

/** A row of two columns: an option, a command or an example, and what it is for. */
interface Row {
  readonly term: string;
  readonly text: string;
}

interface Help {
  readonly usage: string;
  readonly summary: string;
  /** Commands, Positionals, Options, Examples: those that there are. */
  readonly tables: ReadonlyMap<string, readonly Row[]>;
  readonly epilog: string;
}

const rowOf = (line: string): Row => {
  const [, term = '', text = ''] = /^ +(\S.*?)(?: {2,}(\S.*))?$/.exec(line) ?? [];
  return { term, text };
};

/** Of a help that is written into a pipe: a line is a row. */
export function parseHelp(text: string): Help {
  const [usage = '', ...blocks] = text.trim().split('\n\n');
  const tables = new Map<string, readonly Row[]>();
  const prose: string[] = [];
  for (const block of blocks) {
    const [title = '', ...lines] = block.split('\n');
    if (/^[A-Z][a-z]+:$/.test(title)) tables.set(title.slice(0, -1), lines.map(rowOf));
    else prose.push(block);
  }
  const [summary = '', ...epilog] = prose;
  return { usage, summary, tables, epilog: epilog.join('\n\n') };
}

/** A line of text as roff: nothing in it is a request, and a hyphen is one that can be copied. */
const roff = (text: string): string =>
  text
    .replaceAll('\\', '\\e')
    .replaceAll('-', '\\-')
    .replaceAll('\n', '\n.br\n')
    .replace(/^(?=['.])/gm, '\\&')
    .replaceAll('\n\\&.br\n', '\n.br\n');

const section = (title: string, ...lines: readonly string[]): string => `.SH ${title}\n${lines.join('\n')}\n`;
const rows = (of: readonly Row[]): string =>
  of.map(({ term, text }) => `.TP\n.B ${roff(term)}\n${roff(text)}`).join('\n');

function page(words: readonly string[], help: Help, { version, time }: About): string {
  const name = words.join('-');
  const parents = words.slice(1).map((_, i) => words.slice(0, i + 1).join('-'));
  const children = (help.tables.get('Commands') ?? []).map(({ term }) => term.split(' ').join('-'));
  const others = [...parents, ...children].map(other => `.BR ${roff(other)} (1)`);
  return [
    `.TH ${roff(name.toUpperCase())} 1 ${time.toISOString().slice(0, 10)} "tollgate ${version}" "tollgate"\n`,
    section('NAME', `${roff(name)} \\- ${roff(help.summary.split('\n')[0]!)}`),
    section('SYNOPSIS', `.B ${roff(help.usage)}`, help.tables.has('Options') ? '.RI [ options ]' : ''),
    ...[...help.tables].map(([title, of]) => section(title.toUpperCase(), rows(of))),
    ...(help.epilog === '' ? [] : [section('NOTES', roff(help.epilog))]),
    ...(others.length === 0 ? [] : [section('SEE ALSO', others.join(',\n'))]),
  ].join('');
}

export interface Page {
  /** As in `tollgate-policy-lint.1`. */
  readonly file: string;
  readonly text: string;
}

/** One page for each command, and for what is below it. */
export function manualPages(about: About, words: readonly string[] = ['tollgate']): readonly Page[] {
  const text = execFileSync(about.executable, [...words.slice(1), '--help'], { encoding: 'utf8' });
  const help = parseHelp(text);
  const own = { file: `${words.join('-')}.1`, text: page(words, help, about) };
  const commands = (help.tables.get('Commands') ?? []).map(({ term }) =>
    term.split(' ').filter(word => /^[a-z]/.test(word)),
  );
  return [own, ...commands.flatMap(each => manualPages(about, each))];
}
