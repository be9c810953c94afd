import { normalize } from 'node:path';
import type { ArgumentsCamelCase, Argv } from 'yargs';
import { printable, printableLines } from '../tag/printable.ts';

/** Exit codes, a contract with scripts; each command says in its help what its `no` means. */
export const exit = {
  /** Yes, or fine. */
  yes: 0,
  /** Denied, invalid, changes, drift. */
  no: 1,
  usage: 2,
  failed: 3,
} as const;

export type Exit = (typeof exit)[keyof typeof exit];

/** Wrong usage that only a command itself can see, such as two options that exclude each other. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

/** One word that a person may type after `tollgate`. */
export interface Command {
  /** What a person types to run it, or each command that it holds: `policy lint`. None where no help lists it. */
  readonly words: readonly string[];
  readonly addTo: (parser: Argv, finish: (how: Exit) => void) => void;
}

/** `lint` of `lint [file]`. */
const firstWord = (name: string): string => name.split(' ', 1)[0]!;

/** Methods that the types of yargs leave out. */
interface Untyped {
  readonly getOptions: () => { readonly alias: Readonly<Record<string, readonly string[]>> };
}

/** A shell would complete `-f` as `--f`, as yargs has it, beside the long name. */
function withoutShortInCompletion<Options>(parser: Argv<Options>): Argv<Options> {
  const { alias } = (parser as unknown as Untyped).getOptions();
  const short = Object.values(alias)
    .flat()
    .filter(name => name.length === 1);
  return short.reduce((hidden, name) => hidden.hide(name), parser);
}

/**
 * A command with the types of its options closed in, so that commands of all kinds fit into one list.
 *
 * @param name     as yargs wants it: the word, then positional arguments as in `lint [file]`
 * @param summary  a line of the help; false where no help lists the command
 * @param options  adds the options to the parser; their types reach `run`
 * @throws (by `run`) UsageError: exit code 2; any other error: its message on stderr, exit code 3
 */
export const command = <Options>(
  name: string,
  summary: string | false,
  options: (parser: Argv) => Argv<Options>,
  run: (options: ArgumentsCamelCase<Options>) => Exit | Promise<Exit>,
): Command => ({
  words: summary === false ? [] : [firstWord(name)],
  addTo: (parser, finish) => {
    // yargs takes false for a command that no help lists; its types say so of another overload only.
    const build = (inner: Argv) => withoutShortInCompletion(options(inner));
    parser.command(name, summary as string, build, async given => finish(await run(given)));
  },
});

/** A command that only holds others, as in `tollgate policy lint`. */
export const commandGroup = (name: string, summary: string, commands: readonly Command[]): Command => ({
  words: commands.flatMap(({ words }) => words.map(word => `${name} ${word}`)),
  addTo: (parser, finish) => {
    parser.command(name, summary, inner => {
      for (const each of commands) each.addTo(inner, finish);
      return inner.demandCommand(1, `Which one? See tollgate ${name} --help`).strict();
    });
  },
});

/** Reads a numeric option: yargs makes NaN of a text that is no number. @throws UsageError */
export const wholeNumber =
  (name: string, least: number, most: number) =>
  (value: number): number => {
    if (Number.isInteger(value) && value >= least && value <= most) return value;
    throw new UsageError(`Cannot use --${name}: give it a whole number from ${least} to ${most}`);
  };

/** "mtu" of a network, as the plugin takes it. @throws UsageError */
export function mtuOf(value: number): number {
  if (value === 0 || (Number.isInteger(value) && value >= 68 && value <= 65_535)) return value;
  throw new UsageError('Cannot use --mtu: give it a whole number from 68 to 65535, or 0 for what the node can send');
}

/**
 * Normalizes a path. An option that was given twice is a list here; `refuseTwice` refuses it later.
 * @throws UsageError where it is empty, as where a script's variable is not set
 */
export function normalPath(path: string): string {
  if (path === '') throw new UsageError('Cannot use an empty path: name a folder or a file, or leave the option out');
  return typeof path === 'string' ? normalize(path) : path;
}

/** `-o json` on every command that prints data. */
export const outputOption = {
  output: { alias: 'o', choices: ['text', 'json'], default: 'text', describe: 'How to print what is asked for' },
} as const;

/** `1 policy`, `2 policies`. */
export const counted = (count: number, one: string, many = `${one}s`): string => `${count} ${count === 1 ? one : many}`;

export const stagedText = (count: number): string =>
  `${counted(count, 'policy is', 'policies are')} staged: see tollgate policy diff --staged.`;

/** Prints text that tollgate wrote itself, colours included. */
export const printPainted = (text: string): void => {
  process.stdout.write(text.endsWith('\n') ? text : `${text}\n`);
};

/** Prints text that may hold names and values of others: unprintable characters are escaped. */
export const print = (text: string): void => printPainted(printableLines(text));

/** Each stays one line, whatever others wrote into it. */
export const printLines = (lines: readonly string[]): void => printPainted(lines.map(printable).join('\n'));

/** A line for a person, on stderr. */
export const warn = (line: string): void => void process.stderr.write(`tollgate: ${printableLines(line)}\n`);

export const printJson = (value: unknown): void => print(JSON.stringify(value, null, 2));
