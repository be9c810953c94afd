import { messageOf } from '../cni/error.ts';
import type { Link } from '../kernel/link.ts';
import { type Cleared, clearLinks, clearNode } from '../pod/clear-node.ts';
import { nftLines } from '../pod/nft-lines.ts';
import { formatTag } from '../tag/tag.ts';
import { isAgents, sweptByAgent } from './ask-agent.ts';
import { command, exit, outputOption, print, printJson, warn } from './command.ts';
import { type Live, liveOptions, openLive } from './live.ts';

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

export const nftSummary = (lines: readonly string[]): string[] => [
  ...lines.slice(0, MOST_LINES).map(line => `nft: ${line}`),
  ...(lines.length > MOST_LINES ? [`nft: … and ${lines.length - MOST_LINES} more`] : []),
];

/** What was taken away, a line each. */
export function sweptLines(swept: Cleared, table: readonly string[]): string[] {
  return [
    ...swept.undone.map(({ pod, containerID, ifname, network, addresses, why }) => {
      const who = pod === undefined ? '' : `${pod}, `;
      const released = addresses.length > 0 ? `; released ${addresses.join(', ')}` : '';
      return `undone: ${who}${ifname} of ${containerID} in network ${network}: ${why}${released}`;
    }),
    ...swept.adopted.map(
      ({ pod, ifname, containerID, network }) =>
        `adopted: ${pod}, ${ifname} of ${containerID} in network ${network}, which runs: its record was lost, and is written again`,
    ),
    ...swept.released.map(({ network, address }) => `released: ${address} of network ${network}, which nobody held`),
    ...swept.nameless.map(path => `removed: record ${path}, which did not say whose it was`),
    ...swept.links.map(({ name, alias }) => `removed: link ${name} (${alias ?? 'no alias'}), which nothing knew`),
    ...swept.unknown.map(
      ({ name, alias }) =>
        `left: link ${name} (${alias ?? 'no alias'}), which neither a record nor the node's state knows: its pod may run; --force deletes it`,
    ),
    ...(swept.isRebuilt ? ["made again: the node's state file, from records and links"] : []),
    ...nftSummary(table),
  ];
}

const linkJson = ({ name, alias, group }: Link) => ({ name, alias: alias ?? null, tag: formatTag(group) });

/** What GC does; on an agent's node the agent does most of it. */
export async function sweepNode(live: Live, { binDir, runDir, force }: SweepArguments): Promise<SweptNode> {
  if (!isAgents(live)) {
    const options = { settings: live.settings, store: live.store, path: [binDir], isForced: force };
    const swept = await clearNode(options, live.here);
    return { swept, nft: await nftLines(swept.table) };
  }
  const { nft, ...swept } = await sweptByAgent(runDir);
  const { failures, ...links } = clearLinks(live.store, live.here, force);
  return { swept: { ...swept, ...links, failures: [...swept.failures, ...failures] }, nft };
}

/** A contract with scripts. */
export const sweptJson = (swept: Cleared, table: readonly string[]) => ({
  adopted: swept.adopted,
  undone: swept.undone,
  released: swept.released,
  nameless: swept.nameless,
  links: swept.links.map(linkJson),
  unknown: swept.unknown.map(linkJson),
  isRebuilt: swept.isRebuilt,
  nft: table,
  failures: swept.failures.map(messageOf),
});

interface SweepArguments {
  readonly binDir: string;
  readonly runDir: string;
  readonly force: boolean;
}

export interface SweptNode {
  readonly swept: Cleared;
  /** Operations on the table, as lines for `nft -f`. */
  readonly nft: readonly string[];
}

/** What may be a running pod's. */
export const forceOption = {
  force: {
    type: 'boolean',
    default: false,
    describe:
      "Delete links of ours, too, that neither a record nor the node's state knows; their pods lose the network",
  },
} as const;

export const gc = command(
  'gc',
  'Take away what dead pods left behind',
  parser =>
    parser
      .options({ ...forceOption, ...outputOption, ...binDirOption, ...liveOptions })
      .example('$0 gc', 'all networks of this node')
      .example('$0 gc --force', 'links that nothing knows, too, when their pods are known to be gone')
      .example('$0 gc -o json', 'what was taken away, for scripts')
      .epilog(
        'Takes away only what is provably dead: attachments whose interface is gone or whose ADD or DEL died halfway, addresses without an owner, and whatever the table has or lacks that it should not. A pod that runs and whose record was lost gets it again as long as the node’s state knows it; a link of ours that nothing knows is named, and deleted with --force only. `tollgate verify` shows it beforehand. Exit code 3: something could not be taken away.',
      ),
  async options => {
    using live = openLive(options, warn);
    const { swept, nft: table } = await sweepNode(live, options);
    if (options.output === 'json') printJson(sweptJson(swept, table));
    else {
      const lines = sweptLines(swept, table);
      print(lines.length > 0 ? lines.join('\n') : 'Nothing to take away.');
    }
    for (const failure of swept.failures) warn(messageOf(failure));
    return swept.failures.length === 0 ? exit.yes : exit.failed;
  },
);
