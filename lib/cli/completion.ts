import { type Command, exit } from './command.ts';

/** yargs makes the script, for the shell that asks ($SHELL); what it asks later is answered by yargs as well. */
export const completion: Command = {
  words: ['completion'],
  addTo: (parser, finish) => {
    parser.command(
      'completion',
      'Print a script by which a shell completes the words of tollgate',
      inner =>
        inner
          .example('$0 completion', 'for the shell that $SHELL names: bash, zsh or fish')
          .example('SHELL=zsh $0 completion', 'for zsh: a file _tollgate in a folder of $fpath')
          .example('SHELL=fish $0 completion', 'for fish: ~/.config/fish/completions/tollgate.fish')
          .epilog('bash: write into ~/.bashrc the line  source <(tollgate completion)'),
      () => {
        parser.showCompletionScript();
        finish(exit.yes);
      },
    );
  },
};
