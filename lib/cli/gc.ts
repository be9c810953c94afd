import { messageOf } from '../cni/error.ts';
import { binDirOption, clearedJson, clearedLines, clearWholeNode, forceOption } from './clearing.ts';
import { command, exit, outputOption, printJson, printLines, warn } from './command.ts';
import { liveOptions, openLive } from './live-node.ts';

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
        'Takes away only what is provably dead: attachments whose interface or network namespace is gone, or whose ADD or DEL died halfway, addresses without an owner, and whatever the table has or lacks that it should not. A pod that runs and whose record was lost gets it again as long as the node’s state knows it; a link of ours that nothing knows is named, and deleted with --force only. `tollgate verify` shows it beforehand. Exit code 3: something could not be taken away.',
      ),
  async options => {
    using live = openLive(options, warn);
    const { cleared, nft: table } = await clearWholeNode(live, options);
    if (options.output === 'json') printJson(clearedJson(cleared, table));
    else {
      const lines = clearedLines(cleared, table);
      printLines(lines.length > 0 ? lines : ['Nothing to take away.']);
    }
    for (const failure of cleared.failures) warn(messageOf(failure));
    return cleared.failures.length === 0 ? exit.yes : exit.failed;
  },
);
