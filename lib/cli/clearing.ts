/** Shared by `gc` and `verify --repair`: both clear the node of dead attachments, and print what they removed. */
import { messageOf } from '../cni/error.ts';
import { ownerOf, refuseOtherOwner } from '../enforce/owner.ts';
import type { Link } from '../kernel/link.ts';
import { type Cleared, clearLinks, clearNode } from '../pod/clear-node.ts';
import { nftLines } from '../pod/nft-lines.ts';
import { toClear } from '../pod/to-clear.ts';
import { formatTag } from '../tag/tag.ts';
import { askAgent, clearedByAgent, isAgents } from './ask-agent.ts';
import { normalPath } from './command.ts';
import type { Live } from './live-node.ts';

/** Folders of IPAM plugins that a network may have delegated its addresses to. */
export const binDirOption = {
  'bin-dir': {
    type: 'string',
    default: '/opt/cni/bin',
    requiresArg: true,
    coerce: normalPath,
    describe: 'Where other IPAM plugins are, if a network uses one',
  },
} as const;

/** Enough to see what kind of change it is; `-o json` has them all. */
const MOST_LINES = 12;

export const nftSummary = (lines: readonly string[]): string[] => [
  ...lines.slice(0, MOST_LINES).map(line => `nft: ${line}`),
  ...(lines.length > MOST_LINES ? [`nft: … and ${lines.length - MOST_LINES} more`] : []),
];

/** One line for each thing that was removed, or in a dry run would be. */
export function clearedLines({ cleared, nft, isDry = false }: ClearedNode): string[] {
  const be = isDry ? 'would be ' : '';
  return [
    ...cleared.undone.map(({ pod, containerID, ifname, network, addresses, why }) => {
      const who = pod === undefined ? '' : `${pod}, `;
      const released = addresses.length > 0 ? `; ${isDry ? 'it holds' : 'released'} ${addresses.join(', ')}` : '';
      return `${be}undone: ${who}${ifname} of ${containerID} in network ${network}: ${why}${released}`;
    }),
    ...cleared.adopted.map(
      ({ pod, ifname, containerID, network }) =>
        `${be}adopted: ${pod}, ${ifname} of ${containerID} in network ${network}, which runs: its record was lost, and ${isDry ? 'would be' : 'is'} written again`,
    ),
    ...cleared.released.map(
      ({ network, address }) => `${be}released: ${address} of network ${network}, which no attachment held`,
    ),
    ...cleared.nameless.map(path => `${be}removed: record ${path}, which did not say whose it was`),
    ...cleared.links.map(
      ({ name, alias }) => `${be}removed: link ${name} (${alias ?? 'no alias'}), which nothing knew`,
    ),
    ...cleared.unknown.map(
      ({ name, alias }) =>
        `${be}left: link ${name} (${alias ?? 'no alias'}), which neither a record nor the node's state knows: its pod may run; --force deletes it`,
    ),
    ...(cleared.isRebuilt
      ? [`${be}made again: the node's state file, from records and links, and what its table lacked`]
      : []),
    ...nftSummary(nft),
  ];
}

const linkJson = ({ name, alias, group }: Link) => ({ name, alias: alias ?? null, tag: formatTag(group) });

/** Clears the node as a CNI GC would; on an agent's node the agent does most of it. */
export async function clearWholeNode(live: Live, { binDir, runDir, force }: ClearArguments): Promise<ClearedNode> {
  if (!isAgents(live)) {
    const options = { settings: live.settings, store: live.store, path: [binDir], isForced: force };
    const cleared = await clearNode(options, live.here);
    return { cleared, nft: await nftLines(cleared.table) };
  }
  const { nft, ...cleared } = await clearedByAgent(runDir);
  const { failures, ...links } = await clearLinks(live.store, live.here, force);
  return { cleared: { ...cleared, ...links, failures: [...cleared.failures, ...failures] }, nft };
}

/** What `clearWholeNode` would do. On an agent's node the agent says how it would mend its table. */
export async function toClearWholeNode(live: Live, { runDir, force }: ClearArguments): Promise<ClearedNode> {
  const isByAgent = isAgents(live);
  if (!isByAgent) refuseOtherOwner(ownerOf(live.settings), live.here.hook.owner());
  const cleared = await toClear(live.store, force, live.here);
  const nft = isByAgent ? await askAgent<readonly string[]>(runDir, 'GET', '/drift') : await nftLines(cleared.table);
  return { cleared, nft, isDry: true };
}

/** A contract with scripts. */
export const clearedJson = ({ cleared, nft }: ClearedNode) => ({
  adopted: cleared.adopted,
  undone: cleared.undone,
  released: cleared.released,
  nameless: cleared.nameless,
  links: cleared.links.map(linkJson),
  unknown: cleared.unknown.map(linkJson),
  isRebuilt: cleared.isRebuilt,
  nft,
  failures: cleared.failures.map(messageOf),
});

interface ClearArguments {
  readonly binDir: string;
  readonly runDir: string;
  readonly force: boolean;
}

export interface ClearedNode {
  readonly cleared: Cleared;
  /** Operations on the table, as lines for `nft -f`. */
  readonly nft: readonly string[];
  /** Nothing was changed: it is what would be. */
  readonly isDry?: boolean;
}

/** `--force` also deletes links that no record knows, and that may be running pods'. */
export const forceOption = {
  force: {
    type: 'boolean',
    default: false,
    describe:
      "Delete links of ours, too, that neither a record nor the node's state knows; their pods lose the network",
  },
} as const;
