import { allLinks } from '../pod/interface.ts';
import { nftWords, type Swept, sweep } from '../pod/sweep.ts';
import { formatTag } from '../tag/tag.ts';
import { isAgents, sweptByAgent } from './ask-agent.ts';
import { command, exit, outputOption, print, printJson } from './command.ts';
import { liveOptions, openLive, warn } from './live.ts';

const said = (error: unknown): string => (error instanceof Error ? error.message : String(error));

/** Where plugins are that a network may have delegated its addresses to. */
export const binDirOption = {
  'bin-dir': {
    type: 'string',
    default: '/opt/cni/bin',
    requiresArg: true,
    describe: 'Where other IPAM plugins are, if a network uses one',
  },
} as const;

/** Enough to see what kind of change it is; `-o json` has them all. */
const MOST_LINES = 12;

export const nftLines = (lines: readonly string[]): string[] => [
  ...lines.slice(0, MOST_LINES).map(line => `nft: ${line}`),
  ...(lines.length > MOST_LINES ? [`nft: … and ${lines.length - MOST_LINES} more`] : []),
];

/** What was taken away, a line each. */
export function sweptLines(swept: Swept, table: readonly string[]): string[] {
  return [
    ...swept.undone.map(({ pod, containerID, ifname, network, addresses, why }) => {
      const who = pod === undefined ? '' : `${pod}, `;
      const released = addresses.length > 0 ? `; released ${addresses.join(', ')}` : '';
      return `undone: ${who}${ifname} of ${containerID} in network ${network}: ${why}${released}`;
    }),
    ...swept.released.map(({ network, address }) => `released: ${address} of network ${network}, which nobody held`),
    ...swept.nameless.map(path => `removed: record ${path}, which did not say whose it was`),
    ...swept.links.map(({ name, alias }) => `removed: link ${name} (${alias ?? 'no alias'}), which no record knew`),
    ...(swept.isRebuilt ? ["made again: the node's state file, from records and links"] : []),
    ...nftLines(table),
  ];
}

/** A contract with scripts. */
export const sweptJson = (swept: Swept, table: readonly string[]) => ({
  undone: swept.undone,
  released: swept.released,
  nameless: swept.nameless,
  links: swept.links.map(({ name, alias, group }) => ({ name, alias: alias ?? null, tag: formatTag(group) })),
  isRebuilt: swept.isRebuilt,
  nft: table,
  failures: swept.failures.map(said),
});

export const gc = command(
  'gc',
  'Take away what dead pods left behind',
  parser =>
    parser
      .options({ ...outputOption, ...binDirOption, ...liveOptions })
      .example('$0 gc', 'all networks of this node')
      .example('$0 gc -o json', 'what was taken away, for scripts')
      .epilog(
        'Takes away only what is provably dead: attachments whose interface is gone or whose ADD or DEL died halfway, addresses without an owner, links of ours without a record, and whatever the table has or lacks that it should not. `tollgate verify` shows it beforehand. Exit code 3: something could not be taken away.',
      ),
  async options => {
    using live = openLive(options, warn);
    const links = allLinks(live.here.host);
    const byAgent = isAgents(live) ? await sweptByAgent(options.runDir) : undefined;
    const swept = byAgent ?? (await sweep(links, live.config, live.store, [options.binDir], live.here));
    const table = byAgent?.nft ?? (await nftWords(swept.table));
    if (options.output === 'json') printJson(sweptJson(swept, table));
    else {
      const lines = sweptLines(swept, table);
      print(lines.length > 0 ? lines.join('\n') : 'Nothing to take away.');
    }
    for (const failure of swept.failures) warn(said(failure));
    return swept.failures.length === 0 ? exit.yes : exit.failed;
  },
);
