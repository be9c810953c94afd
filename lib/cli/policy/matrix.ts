import { parseTraffic, type Traffic } from '../../policy/evaluate/matrix-judge.ts';
import { packMatrix } from '../../policy/evaluate/matrix-packed.ts';
import { StagedMatrix } from '../../policy/evaluate/matrix-staged.ts';
import { stagedRefs } from '../../policy/model/staged.ts';
import { command, exit, print, UsageError } from '../command.ts';
import { liveOptions } from '../live-node.ts';
import { readPage, withData } from '../page.ts';
import { judgedWorld, warnOfErrors } from './judged.ts';
import { fileOption } from './manifests.ts';
import { matrixText, stagedText } from './matrix-grid.ts';
import { matrixJson } from './matrix-json.ts';

export const portOption = {
  port: {
    type: 'string',
    demandOption: true,
    requiresArg: true,
    describe: 'As in 80/TCP, 53/UDP, 36412/SCTP; icmp for what has no ports, a ping for one',
  },
} as const;

/** @throws UsageError */
export function parsePort(text: string): Traffic {
  const traffic = parseTraffic(text);
  if (traffic) return traffic;
  throw new UsageError(
    `Cannot read --port ${text}: expected a number from 1 to 65535 and TCP, UDP or SCTP, as in 80/TCP, or icmp`,
  );
}

/** Columns of the terminal; 120 where stdout is a file. */
const columnsOf = ({ columns }: NodeJS.WriteStream): number => columns ?? (Number(process.env['COLUMNS']) || 120);

/** Resolves once the text is on its way, so that no more of it is made than the reader takes. */
const written = (text: string): Promise<void> =>
  new Promise((resolve, reject) => process.stdout.write(text, error => (error ? reject(error) : resolve())));

export const policyMatrix = command(
  'matrix',
  'Say which pod may reach which, and why not',
  parser =>
    parser
      .options({
        ...fileOption,
        ...portOption,
        output: {
          alias: 'o',
          choices: ['text', 'json', 'html'],
          default: 'text',
          describe: 'How to print it; html is one page that needs no network',
        },
        ...liveOptions,
      })
      .example('$0 policy matrix -f policies/ --port 80/TCP', 'what manifests mean, before anybody relies on them')
      .example('$0 policy matrix --port 53/UDP', 'the pods and policies of this node')
      .example('$0 policy matrix -f policies/ --port 80/TCP -o json', 'every pair with the policies that decide')
      .example('$0 policy matrix -f policies/ --port 80/TCP -o html > matrix.html', 'to search, and to show around')
      .epilog(
        'Pods of manifests need status.podIPs for rules with ipBlock; without, they are judged by their labels. Where there are staged policies, what they would change is told beside what is so now. Exit code 1: some manifest is invalid (it was judged as closed).',
      ),
  async options => {
    const traffic = parsePort(options.port);
    const judged = await judgedWorld(options);
    const isInvalid = warnOfErrors(judged);
    const pairs = new StagedMatrix(judged.world, traffic, judged.options);
    if (options.output === 'json') for (const piece of matrixJson(pairs)) await written(piece);
    else if (options.output === 'html') print(withData(readPage('matrix'), packMatrix(pairs)));
    else if (pairs.judge.pods.length < 2) print('There are not two pods to judge.');
    else print(matrixText(pairs.judge, columnsOf(process.stdout)) + stagedText(pairs, stagedRefs(judged.world)));
    return isInvalid ? exit.no : exit.yes;
  },
);
