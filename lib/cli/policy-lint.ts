import { formatProblem, lint } from '../policy/lint.ts';
import type { Problem } from '../policy/problem.ts';
import { command, counted, exit, outputOption, print, printJson } from './command.ts';
import { liveOptions, openLive, warn } from './live.ts';
import { fileOption, readFiles } from './manifests.ts';

/** A contract with scripts. Documents count from 1, as in the text. */
const jsonOf = ({ severity, file, document, object, field, message }: Problem) => ({
  severity,
  file,
  document: document + 1,
  object: object ?? null,
  field,
  message,
});

/** What this node enforces: the folder that its table was made from. */
function folderOfNode(options: Parameters<typeof openLive>[0]): string {
  using live = openLive(options, warn);
  return live.config.policies;
}

export const policyLint = command(
  'lint',
  'Say what is wrong with manifests',
  parser =>
    parser
      .options({
        ...fileOption,
        ...outputOption,
        warnings: { type: 'boolean', default: false, describe: 'Tell of what is valid but looks wrong, too' },
        ...liveOptions,
      })
      .example('$0 policy lint -f policies/', 'every manifest of a folder')
      .example('$0 policy lint', 'the policies of this node')
      .example('kubectl get netpol -A -o yaml | $0 policy lint -f -', 'what a cluster has')
      .epilog(
        'Exit code 0: no errors; 1: errors. An invalid policy is not ignored: it closes the pods that it selects, in the directions that are in doubt.',
      ),
  options => {
    const { documents, problems } = readFiles(options.file ?? [folderOfNode(options)]);
    const found = [...problems, ...lint(documents, { least: options.warnings ? 'warning' : 'error' })];
    const errors = found.filter(({ severity }) => severity === 'error').length;
    if (options.output === 'json') printJson(found.map(jsonOf));
    else {
      for (const problem of found) print(`${problem.severity}: ${formatProblem(problem)}`);
      print(`${counted(documents.length, 'document')}, ${errors === 0 ? 'no errors' : counted(errors, 'error')}.`);
    }
    return errors === 0 ? exit.yes : exit.no;
  },
);
