import type { Entry, LiveMessage } from '../../flows/model.ts';
import { type SumKind, sumKinds } from '../../flows/sums.ts';
import {
  command,
  type Exit,
  exit,
  outputOption,
  print,
  printJson,
  printLines,
  UsageError,
  warn,
  wholeNumber,
} from '../command.ts';
import { liveOptions } from '../live-node.ts';
import { entryText, sumTable } from './flow-lines.ts';
import { Follower } from './follower.ts';
import { listeningFor } from './listening.ts';
import { momentBefore } from './moment.ts';
import { countsBytes, type FlowQuery, followRecorded, LAST, listRecorded, sumRecorded, uiLink } from './recorded.ts';
import { DENIED, showDenials } from './show-denials.ts';

/** As many as an agent lists at once. */
const MOST_LISTED = 100_000;
/** A day; Node's timers take at most 24 of them. */
const MOST_SECONDS = 86_400;
/** What --denied looks for where nothing is said. */
const SECONDS = 10;

const printEntry = (entry: Entry, output: string): void =>
  printLines([output === 'json' ? JSON.stringify(entry) : entryText(entry)]);

interface Options {
  readonly runDir: string;
  readonly output: string;
  readonly follow: boolean;
  readonly denied: boolean;
}

async function showSums({ runDir, output }: Options, kind: SumKind, query: FlowQuery): Promise<Exit> {
  const rows = await sumRecorded(runDir, kind, query);
  if (output === 'json') printJson(rows);
  else print(sumTable(kind, rows));
  return exit.yes;
}

/** With `-o json` a line between what has been and what comes says so, where both were asked for. */
async function followFlows({ runDir, output }: Options, query: FlowQuery): Promise<Exit> {
  const follower = new Follower(output !== 'json');
  let isPast = query.last !== undefined || query.since !== undefined;
  const take = (message: LiveMessage): void => {
    const { entries, skipped, since } = message;
    if (isPast && since === undefined && !message.isPast) {
      isPast = false;
      if (output === 'json') printLines([JSON.stringify({ kind: 'live', time: Date.now() / 1000 })]);
    }
    if (skipped > 0) warn(`${skipped} changes were left out: they came faster than they were read`);
    for (const entry of entries) if (follower.isNews(entry)) printEntry(entry, output);
  };
  await followRecorded(runDir, query, take, listeningFor());
  return exit.yes;
}

async function showFlows(options: Options, query: FlowQuery): Promise<Exit> {
  if (options.follow) return await followFlows(options, query);
  for (const entry of await listRecorded(options.runDir, query)) printEntry(entry, options.output);
  return exit.yes;
}

export const flows = command(
  'flows [filter..]',
  'Show who talks to whom, what is denied, and which policies decide',
  parser =>
    parser
      .positional('filter', {
        array: true,
        type: 'string',
        default: [],
        describe:
          'ns: pod: port: verdict: policy: staged: ip: name: with a value, in which * stands for any text; a minus leaves such flows out',
      })
      .options({
        denied: { type: 'boolean', default: false, describe: 'What is denied, from now on; needs no agent' },
        follow: { alias: 'f', type: 'boolean', default: false, describe: 'Until interrupted' },
        since: { type: 'string', requiresArg: true, describe: 'What has been for so long: 90s, 10m, 2h, 1d' },
        last: {
          type: 'number',
          coerce: wholeNumber('last', 0, MOST_LISTED),
          requiresArg: true,
          describe: `So many, the newest ones (${LAST} where nothing is said)`,
        },
        open: {
          type: 'boolean',
          default: false,
          describe: 'The link to the page, where the agent was started with --ui',
        },
        bytes: {
          type: 'boolean',
          default: false,
          describe: 'Open flows with their bytes until now, which the kernel is asked for',
        },
        sum: { choices: sumKinds, describe: 'Flows summed up by namespace, workload or policy, of a day at most' },
        seconds: {
          type: 'number',
          coerce: wholeNumber('seconds', 0, MOST_SECONDS),
          defaultDescription: String(SECONDS),
          describe: 'How long --denied looks, without --follow',
          requiresArg: true,
        },
        ...outputOption,
        ...liveOptions,
      })
      .example('$0 flows', 'the last flows of this node, with the policies that decided')
      .example("$0 flows --follow 'ns:shop -pod:prometheus*'", 'of one namespace as they come, but for one of its pods')
      .example('$0 flows --follow --last 20', 'the last 20, and then what comes')
      .example('$0 flows --since 10m verdict:denied port:443', 'what was denied in the last ten minutes')
      .example('$0 flows --since 1h staged:denied', 'what was allowed, and staged policies would deny')
      .example('$0 flows --bytes port:443', 'what open connections have carried so far')
      .example('$0 flows --sum pod --since 1h', 'who talked to whom')
      .example('$0 flows --denied --follow', 'each denied flow, with the policies that denied it')
      .example('$0 flows --denied --seconds 1 -o json', 'a line of JSON each, for a script')
      .epilog(
        'Flows are recorded by `tollgate agent --flows`; what --denied shows is there without it, read from the node’s own log, which one process can hold: an agent that comes meanwhile gets it, and --denied goes on with what that records. Words of one kind widen a filter, words of different kinds narrow it; quote words with a star. A denied flow is shown once in ten seconds, however often it is tried; the kernel logs 100 packets a second of each chain, and what it counted beyond that is summed up. conf/FLOWS.md describes each field of -o json.',
      ),
  async given => {
    const isLive = given.since === undefined && given.last === undefined && given.sum === undefined;
    const looks = given.denied && isLive && !given.follow && !given.open;
    if (given.seconds !== undefined && !looks)
      throw new UsageError(
        'Cannot use --seconds: it is for --denied alone, without --follow, --since, --last, --sum or --open',
      );
    if (given.open) {
      print(await uiLink(given.runDir));
      return exit.yes;
    }
    if (given.sum && given.follow)
      throw new UsageError('Cannot sum up what is yet to come: leave out --follow, or --sum');
    const words = (given.filter as readonly string[]).join(' ');
    const filter = given.denied ? `${words} ${DENIED}`.trim() : words;
    if (given.denied && isLive)
      return await showDenials(given, filter, listeningFor(given.follow ? undefined : (given.seconds ?? SECONDS)));
    const since = given.since === undefined ? undefined : momentBefore(given.since);
    const last = given.last ?? (given.since === undefined && !given.follow ? LAST : undefined);
    if (given.bytes && !(await countsBytes(given.runDir)))
      warn('conntrack counts no bytes on this node: start the agent with --flow-accounting');
    const query = {
      filter,
      since,
      isCounted: given.bytes,
      last: last ?? (since === undefined ? undefined : MOST_LISTED),
    };
    return given.sum ? await showSums(given, given.sum, query) : await showFlows(given, query);
  },
);
