/** What was typed and cannot be meant so: a command or an option that is unknown, or an option that is given twice. */
import type { Argv } from 'yargs';
import { meantKey } from '../cni/spelling.ts';
import { UsageError } from './command.ts';

/** Methods that the types of yargs leave out. */
interface Untyped {
  readonly getOptions: () => {
    readonly array: readonly string[];
    readonly key: object;
    readonly alias: Readonly<Record<string, readonly string[]>>;
  };
  readonly getInternalMethods: () => {
    readonly getCommandInstance: () => { readonly getCommands: () => readonly string[] };
  };
}

const untyped = (parser: Argv): Untyped => parser as unknown as Untyped;

const dashed = (option: string): string => `${option.length === 1 ? '-' : '--'}${option}`;

/** yargs makes a list of an option that is given twice, though few options are lists. @throws UsageError */
export function refuseTwice(given: object, aliases: object, parser: Argv): true {
  const namesOf = (name: string) => [name, ...((aliases as Readonly<Record<string, readonly string[]>>)[name] ?? [])];
  const lists = new Set(['_', ...untyped(parser).getOptions().array.flatMap(namesOf)]);
  const twice = Object.entries(given).find(([name, value]) => Array.isArray(value) && !lists.has(name));
  if (twice) throw new UsageError(`Cannot use ${dashed(twice[0])} more than once`);
  return true;
}

const camelCased = (option: string): string => option.replace(/-+(.)/g, (_, letter: string) => letter.toUpperCase());

const sentence = (what: string, meant: string | undefined): string =>
  meant === undefined ? `${what}; see --help` : `${what}; did you mean ${meant}?`;

const likest = (word: string, known: readonly string[]): string | undefined =>
  known.find(each => each.toLowerCase() === word.toLowerCase()) ?? meantKey(word, known);

/** Commands that may be typed at this place. */
export const commandsHere = (parser: Argv): readonly string[] =>
  untyped(parser).getInternalMethods().getCommandInstance().getCommands();

/** @param all every command that a help lists, as in `tollgate policy lint` */
export function unknownCommand(word: string, here: readonly string[], all: readonly string[]): string {
  if (word.startsWith('-')) return sentence(`Unknown option: ${word}`, undefined);
  if (here.length === 0) return sentence(`Unknown argument: ${word}`, undefined);
  const listed = new Set(all.flatMap(each => each.split(' ')));
  const like = likest(
    word,
    here.filter(name => listed.has(name)),
  );
  return sentence(`Unknown command: ${word}`, like ?? all.find(each => each.endsWith(` ${word}`)));
}

/** Names of the command's options, their short names among them. */
function optionsOf(parser: Argv): readonly string[] {
  const { key, alias } = untyped(parser).getOptions();
  return [...Object.keys(key), ...Object.values(alias).flat()];
}

const takesFiles = (parser: Argv): boolean => optionsOf(parser).includes('file');

function unknownOptions(names: readonly string[], parser: Argv): string {
  const doubles = new Set(names.filter(name => name.includes('-')).map(camelCased));
  const unknown = names.filter(name => !doubles.has(name));
  const known = optionsOf(parser).filter(name => name.length > 1);
  const meant = unknown.map(name => likest(name, known)).find(name => name !== undefined);
  const what = `Unknown ${unknown.length === 1 ? 'option' : 'options'}: ${unknown.map(dashed).join(', ')}`;
  return sentence(what, meant && dashed(meant));
}

/** An option that was given under a name like its own is not told to be missing. */
function misnamed(missing: readonly string[], parser: Argv): string | undefined {
  const known = optionsOf(parser);
  const given = Object.keys((parser.parsed || { argv: {} }).argv).filter(name => !known.includes(name));
  const slips = given.filter(name => likest(name, missing) !== undefined);
  return slips.length > 0 ? unknownOptions(slips, parser) : undefined;
}

/**
 * What yargs refuses, said so that it teaches.
 * @param message as yargs has it for `strict` and `strictCommands`, and where an option is missing; any other is left as it is
 */
export function refusedText(message: string, parser: Argv, all: readonly string[]): string {
  const [, missing] = /^Missing required arguments?: (.+)$/.exec(message) ?? [];
  if (missing !== undefined) return misnamed(missing.split(', '), parser) ?? message;
  const [, kind, listed = ''] = /^Unknown (command|argument)s?: (.*)$/s.exec(message) ?? [];
  if (kind === 'argument') return unknownOptions(listed.split(', '), parser);
  if (kind !== 'command') return message;
  const [word] = listed.split(', ') as [string];
  const here = commandsHere(parser);
  return here.length === 0 && takesFiles(parser) && !word.startsWith('-')
    ? sentence(`Unknown argument: ${word}`, `-f ${word}`)
    : unknownCommand(word, here, all);
}
