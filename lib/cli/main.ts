/** The command line of a person. Each command has a file of its own; yargs is loaded here and nowhere else. */

import yargs, { type Argv } from 'yargs';
import manifest from '../../package.json' with { type: 'json' };
import { messageOf } from '../cni/error.ts';
import { agent } from './agent.ts';
import { type Command, type Exit, exit, UsageError, warn } from './command.ts';
import { completion } from './completion.ts';
import { connectivity } from './connectivity/connectivity.ts';
import { demo } from './demo/demo.ts';
import { flows } from './flows/flows.ts';
import { gc } from './gc.ts';
import { install } from './install/install.ts';
import { licenses } from './licenses.ts';
import { refusedText, refuseTwice } from './mistyped.ts';
import { pods } from './pods.ts';
import { STDIN } from './policy/manifests.ts';
import { policy } from './policy/policy.ts';
import { status } from './status.ts';
import { watchStdout } from './stdout.ts';
import { sysdump } from './sysdump/sysdump.ts';
import { testPod } from './test-pod/test-pod.ts';
import { withoutUnaskedHelp } from './unasked-help.ts';
import { uninstall } from './uninstall/uninstall.ts';
import { verify } from './verify.ts';
import { version } from './version.ts';

const commands: readonly Command[] = [
  ...[demo, install, uninstall, agent, status, pods, policy, flows, verify, gc, connectivity, sysdump],
  ...[completion, version, licenses, testPod],
];

/**
 * yargs takes a bare `-` for no value at all, and each letter of `-ojson`, as users of kubectl type it, and of a filter's
 * `-pod:web` for an option.
 */
function asYargsTakesIt(arg: string): readonly string[] {
  if (arg === '-') return [STDIN];
  if (/^-[a-z]+:/.test(arg)) return [` ${arg}`];
  return /^-o[^=]/.test(arg) ? ['-o', arg.slice(2)] : [arg];
}

const words = commands.flatMap(each => each.words.map(word => `tollgate ${word}`));

/**
 * What reads a command line and runs its command.
 * @param scriptName what a person types before a command, for the help
 * @param finish     told how the command ended
 */
export function parserOf(args: readonly string[], scriptName: string, finish: (how: Exit) => void): Argv {
  const parser: Argv = yargs(args.flatMap(asYargsTakesIt))
    .scriptName(scriptName)
    .usage(
      '$0 <command>\n\nPlugs pods in, tags their interfaces and gates them. As a CNI plugin it is called by the runtime.',
    )
    .locale('en')
    .version(manifest.version)
    .help()
    .demandCommand(1, 'What to do? See tollgate --help')
    .example('sudo $0 demo', 'see it work, on a node of its own')
    .example('sudo $0 install', 'then drop pods in')
    .example('$0 pods', 'what is plugged in')
    .epilog('Exit codes: 0 yes, or fine; 1 no: denied, invalid, different; 2 wrong usage; 3 it failed.')
    .strictCommands()
    .strict()
    .check((given, aliases) => refuseTwice(given, aliases, parser), true)
    .exitProcess(false)
    .fail((message, error: Error | undefined) => {
      throw error ?? new UsageError(refusedText(message, parser, words));
    });
  // Into a pipe or a file, a line is a line.
  parser.wrap(process.stdout.isTTY ? Math.min(100, parser.terminalWidth()) : null);
  for (const command of commands) command.addTo(parser, finish);
  return withoutUnaskedHelp(parser);
}

/**
 * @param scriptName as `parserOf` takes it
 * @returns the exit code, of those in `exit`
 */
export async function main(args: readonly string[], scriptName = 'tollgate'): Promise<Exit> {
  watchStdout();
  let how: Exit = exit.yes;
  const parser = parserOf(args, scriptName, done => {
    how = done;
  });
  try {
    await parser.parseAsync();
    return how;
  } catch (error) {
    const message = messageOf(error);
    warn(message);
    return isUsage(error) ? exit.usage : exit.failed;
  }
}

/** yargs throws its own YError, which it does not export, for an option without its value and the like. */
const isUsage = (error: unknown): boolean =>
  error instanceof UsageError || (error instanceof Error && error.name === 'YError');
