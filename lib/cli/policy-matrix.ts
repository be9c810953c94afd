import { manifestsOf } from '../enforce/folder.ts';
import { worldOfNode } from '../enforce/world.ts';
import { formatProblem } from '../policy/lint.ts';
import { matrix, type Row, type Traffic } from '../policy/matrix.ts';
import { protocols, type World } from '../policy/model.ts';
import type { Problem } from '../policy/problem.ts';
import { command, exit, outputOption, print, printJson, UsageError } from './command.ts';
import { grid } from './grid.ts';
import { type LiveArguments, liveOptions, openLive, warn } from './live.ts';
import { fileOption, worldIn } from './manifests.ts';

/** `80/TCP`, `53/udp`, `80`. @throws UsageError */
export function parsePort(text: string): Traffic {
  const [, digits, name = 'TCP'] = /^(\d{1,5})(?:\/([a-z]+))?$/i.exec(text) ?? [];
  const port = Number(digits);
  const protocol = protocols.find(each => each === name.toUpperCase());
  if (digits === undefined || port < 1 || port > 65535 || !protocol)
    throw new UsageError(
      `Cannot read --port ${text}: expected a number from 1 to 65535 and TCP, UDP or SCTP, as in 80/TCP`,
    );
  return { protocol, port };
}

interface Judged {
  readonly world: World;
  readonly problems: readonly Problem[];
}

/** The pods that are plugged in and the policies that are in force, which may not be what the folder says by now. */
export function worldOfLive(options: LiveArguments): Judged {
  using live = openLive(options, warn);
  const { table } = live.here.hook;
  const state = table.peek()?.state;
  if (!state)
    throw new Error('Cannot judge this node: no pod is plugged in here; for manifests alone, name them with -f');
  const { judge } = state.settings;
  if (judge === 'none' || judge === 'exec')
    warn(`policies are not enforced on this node: its enforcer is ${state.owner.enforcer}`);
  const { world, problems } = manifestsOf(table.readApplied());
  return { world: worldOfNode(world, state), problems };
}

/** Where both families agree one word will do. */
function cell(rows: readonly Row[]): string {
  if (rows.length === 0) return '-';
  if (rows.every(({ allowed }) => allowed)) return 'yes';
  if (rows.every(({ allowed }) => !allowed)) return 'no';
  return rows.map(({ family, allowed }) => (allowed ? `v${family}` : '')).join('');
}

function picture(rows: readonly Row[], { port, protocol }: Traffic): string {
  const names = [...new Set(rows.flatMap(({ from, to }) => [from, to]))];
  const byPair = Map.groupBy(rows, ({ from, to }) => `${from} ${to}`);
  const numbers = names.map((_, i) => String(i + 1));
  const body = names.map((from, i) => [
    numbers[i]!,
    from,
    ...names.map(to => (from === to ? '.' : cell(byPair.get(`${from} ${to}`) ?? []))),
  ]);
  return `Who may open ${port}/${protocol} to whom: row to column\n\n${grid(['', '', ...numbers], body)}`;
}

function reasons(rows: readonly Row[]): string[] {
  const sentences = rows.flatMap(({ from, to, allowed, egress, ingress }) => {
    const denial = egress.allowed ? ingress : egress;
    return allowed ? [] : [`${from} to ${to}: ${denial.why}`];
  });
  return [...new Set(sentences)];
}

export const policyMatrix = command(
  'matrix',
  'Say which pod may reach which, and why not',
  parser =>
    parser
      .options({
        ...fileOption,
        port: { type: 'string', demandOption: true, requiresArg: true, describe: 'As in 80/TCP, 53/UDP, 36412/SCTP' },
        ...outputOption,
        ...liveOptions,
      })
      .example('$0 policy matrix -f policies/ --port 80/TCP', 'what manifests mean, before anybody relies on them')
      .example('$0 policy matrix --port 53/UDP', 'the pods and policies of this node')
      .example('$0 policy matrix -f policies/ --port 80/TCP -o json', 'every pair with the policies that decide')
      .epilog(
        'Pods of manifests need status.podIPs for rules with ipBlock; without, they are judged by their labels. Exit code 1: some manifest is invalid (it was judged as closed).',
      ),
  options => {
    const traffic = parsePort(options.port);
    const { world, problems } = options.file ? worldIn(options.file) : worldOfLive(options);
    const errors = problems.filter(({ severity }) => severity === 'error');
    for (const problem of errors) warn(formatProblem(problem));
    const rows = matrix(world, traffic);
    if (options.output === 'json') printJson(rows);
    else if (rows.length === 0) print('There are not two pods to judge.');
    else {
      print(picture(rows, traffic));
      const denied = reasons(rows);
      if (denied.length > 0) print(`\nDenied:\n${denied.map(line => `  ${line}`).join('\n')}`);
    }
    return errors.length === 0 ? exit.yes : exit.no;
  },
);
