/**
 * Manual pages, out of what the executable says for `--help`: one source for both.
 *
 * @see groff_man(7)
 */
import { spawnSync } from 'node:child_process';
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

/** Parses a help text that was written into a pipe, where no line is wrapped. */
function parseHelp(text: string): Help {
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

/** A program, and the words that lead to one of its commands. */
interface Place {
  readonly program: readonly string[];
  readonly command: readonly string[];
}

function page({ program, command }: Place, help: Help, { version, time }: About): string {
  const name = [...program, ...command].join('-');
  const parents = command.map((_, i) => [...program, ...command.slice(0, i)].join('-'));
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
  /** File name, such as `tollgate-policy-lint.1`. */
  readonly file: string;
  readonly text: string;
}

/** What a node makes of a command follows this line: that has a page of its own, under the name that the executable has there. */
const ON_NODE = 'What else may follow the command, as on a node:';

/** One page for a command, and for each below it. */
function pagesBelow(about: About, place: Place): readonly Page[] {
  const { program, command } = place;
  // The executable is the program by whose name it is called.
  const { stdout, status } = spawnSync(about.executable, [...command, '--help'], {
    encoding: 'utf8',
    argv0: program.join('-'),
  });
  const prefix = [...program, ...command].join(' ');
  if (status !== 0 || !stdout.startsWith(prefix)) throw new Error(`Cannot make a manual page of: ${prefix} --help`);
  const [said = '', onNode] = stdout.split(`${ON_NODE}\n`);
  const help = parseHelp(onNode ? `${said}What else may follow the command is said by ${prefix} --help.` : said);
  const own = { file: `${[...program, ...command].join('-')}.1`, text: page(place, help, about) };
  const commands = (help.tables.get('Commands') ?? []).map(({ term }) =>
    term
      .split(' ')
      .filter(word => /^[a-z]/.test(word))
      .slice(program.length),
  );
  const below = commands.filter(each => each.length > command.length);
  return [own, ...below.flatMap(each => pagesBelow(about, { program, command: each }))];
}

/** Pages of both programs that the executable is. */
export const manualPages = (about: About): readonly Page[] =>
  [['tollgate'], ['kubectl', 'tollgate']].flatMap(program => pagesBelow(about, { program, command: [] }));
