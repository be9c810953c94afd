/** yargs lays out the help of each command that it runs, in case the command fails: a third of the time of a command. */
import type { Argv } from 'yargs';

/** Methods that the types of yargs leave out. */
interface Untyped {
  readonly getInternalMethods: () => { readonly getUsageInstance: () => { cacheHelpMessage: () => void } };
}

/** Help is laid out for those who ask for it. To be called for parsers with a `fail` of their own, which prints none. */
export function withoutUnaskedHelp(parser: Argv): Argv {
  (parser as unknown as Untyped).getInternalMethods().getUsageInstance().cacheHelpMessage = () => {};
  return parser;
}
