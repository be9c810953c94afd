import { messageOf } from '../cni/error.ts';
import { binDirOption, clearedJson, clearedLines, clearWholeNode, forceOption, toClearWholeNode } from './clearing.ts';
import { command, exit, outputOption, printJson, printLines, warn } from './command.ts';
import { liveOptions, openLive } from './live-node.ts';

export const gc = command(
  'gc',
  'Take away what dead pods left behind',
  parser =>
    parser
      .options({
        ...forceOption,
        'dry-run': { type: 'boolean', default: false, describe: 'Say what would be taken away, and change nothing' },
        ...outputOption,
        ...binDirOption,
        ...liveOptions,
      })
      .example('$0 gc --dry-run', 'what would be taken away')
      .example('$0 gc', 'all networks of this node')
      .example('$0 gc --force', 'links that nothing knows, too, when their pods are known to be gone')
      .example('$0 gc -o json', 'what was taken away, for scripts')
      .epilog(
        'Takes away only what is provably dead: attachments whose interface or network namespace is gone, or whose ADD or DEL died halfway, addresses without an owner, and whatever the table has or lacks that it should not; where no pod is left, the table itself, which the next ADD makes anew. A pod that runs and whose record was lost gets it again as long as the node’s state knows it; a link of ours that nothing knows is named, and deleted with --force only. --dry-run says it beforehand, and `tollgate verify` what else differs. Exit code 3: something could not be taken away.',
      ),
  async options => {
    using live = openLive(options, warn);
    const { dryRun } = options;
    const found = await (dryRun ? toClearWholeNode : clearWholeNode)(live, options);
    if (options.output === 'json') printJson({ dryRun, ...clearedJson(found) });
    else {
      const lines = clearedLines(found);
      printLines(lines.length > 0 ? lines : ['Nothing to take away.']);
    }
    const { failures } = found.cleared;
    for (const failure of failures) warn(messageOf(failure));
    return failures.length === 0 ? exit.yes : exit.failed;
  },
);
