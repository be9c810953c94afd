import type { Goal } from '../../enforce/footing.ts';
import { driftText } from '../../enforce/inline.ts';
import { formatTransaction } from '../../nft/text.ts';
import { unreadBelow } from '../../nodestore/folder-listing.ts';
import { type Kept, manifestsOf, notesOf } from '../../nodestore/policy-folder.ts';
import { allLinks } from '../../pod/links.ts';
import { isTagged } from '../../pod/own-link.ts';
import { policyRef } from '../../policy/model/model.ts';
import { formatByObject } from '../../policy/model/problem.ts';
import { stagedRefs } from '../../policy/model/staged.ts';
import { command, counted, type Exit, exit, outputOption, print, printJson, stagedText, warn } from '../command.ts';
import { type Live, liveOptions, openLive } from '../live-node.ts';

/** Policies in force, by name, with what they say: to be compared, not to be shown. */
function policiesOf({ kept }: Goal): Map<string, string> {
  const { policies, clusterPolicies = [] } = manifestsOf(kept).world;
  return new Map(
    [...policies, ...clusterPolicies].map(policy => {
      const { source: _, ...meaning } = policy;
      const text = JSON.stringify(meaning, (_key, value: unknown) =>
        typeof value === 'bigint' ? String(value) : value,
      );
      return [policyRef(policy), text];
    }),
  );
}

function differences(before: Goal, after: Goal) {
  const [old, now] = [policiesOf(before), policiesOf(after)];
  return {
    added: [...now.keys()].filter(name => !old.has(name)),
    changed: [...now].filter(([name, text]) => old.has(name) && old.get(name) !== text).map(([name]) => name),
    removed: [...old.keys()].filter(name => !now.has(name)),
  };
}

/** Pods whose labels a Pod manifest has changed, so that they have another tag now. */
const relabelled = (before: Goal, after: Goal): string[] =>
  Object.entries(after.state.pods).flatMap(([key, pod]) => {
    const earlier = before.state.pods[key];
    return earlier && earlier.tag !== pod.tag ? [`${pod.namespace}/${pod.name}`] : [];
  });

const listed = (sign: string, names: readonly string[]): string => names.map(name => `  ${sign} ${name}\n`).join('');

/** A person who runs `apply` has looked at the folder, so a file that has become empty is meant to be empty. */
const confirmed = { isConfirmed: true };

interface Told {
  /** A line for each file or folder that is not read, each policy that is not enforced here and each object that is invalid. */
  readonly lines: readonly string[];
  /** False where one makes the command fail, as a policy that is not enforced here does not, nor a folder in the folder. */
  readonly isFine: boolean;
}

/** Warns of what the folder's manifests come to. @param warnings what was said while they were read */
function warnOf(folder: string, kept: Kept, warnings: readonly string[]): Told {
  const problems = manifestsOf(kept).problems.filter(({ severity }) => severity === 'error');
  const unread = Object.entries(unreadBelow(folder)).map(([path, why]) => `${path}: ${why}`);
  const lines = [...warnings, ...formatByObject(problems), ...unread];
  for (const line of lines) warn(line);
  const notes = new Set(notesOf({ path: folder, kept }));
  return { lines, isFine: problems.length === 0 && warnings.every(line => notes.has(line)) };
}

/** A transaction as one text of nft's; two where pods get other tags, which happens in between. */
async function rehearse(
  { here, settings }: Live,
  output: string | undefined,
  warnings: readonly string[],
): Promise<Exit> {
  const plan = await here.hook.plan(confirmed);
  const transactions = plan.transactions.filter(({ operations }) => operations.length > 0).map(formatTransaction);
  const { lines, isFine } = warnOf(settings.policies, plan.kept, warnings);
  if (output === 'json') printJson({ transactions, warnings: lines });
  else if (transactions.length === 0) print('# Nothing would be sent: what the folder says is in force.');
  else print(transactions.join('# Then the pods whose labels have changed get their new tags, and then:\n'));
  return isFine ? exit.yes : exit.no;
}

export const policyApply = command(
  'apply',
  'Put what the policies folder says into force, in one batch',
  parser =>
    parser
      .options({
        ...outputOption,
        established: {
          choices: ['cut', 'keep'],
          default: 'cut',
          describe: 'What becomes of connections that are no longer allowed',
        },
        'dry-run': {
          type: 'boolean',
          default: false,
          describe: 'Change nothing: print the nftables transaction that would be sent',
        },
        ...liveOptions,
      })
      .example('$0 policy apply --dry-run', 'as nft -f would read it')
      .example('$0 policy apply', 'after a file in the folder was changed')
      .example('$0 policy apply -o json', 'what was added, changed and removed, for scripts')
      .epilog(
        'Plugging a pod in or out does the same. The folder stays as it is: take a policy back by removing its file and applying again. Exit code 1: a manifest is invalid, or the kernel refused a policy; the pods that it selects are closed.',
      ),
  async options => {
    const warnings: string[] = [];
    using live = openLive(options, line => void warnings.push(line), { established: options.established });
    if (!live.found)
      throw new Error(
        allLinks(live.here.host).some(isTagged)
          ? 'Cannot apply policies: the table and the node’s state file are both gone, and whose pods are here only a call of the runtime tells: the next ADD, DEL or GC makes both again'
          : 'Cannot apply policies: no pod is plugged in here, and plugging one in applies them',
      );
    const { enforcer } = live.found.owner;
    if (enforcer !== 'inline')
      throw new Error(
        `Cannot apply policies: this node's enforcer is ${enforcer}, and only pods with "enforcer": "inline" go by the folder${enforcer === 'agent' ? '; its policies come from the Kubernetes API: kubectl apply' : ''}`,
      );
    if (options.dryRun) return await rehearse(live, options.output, warnings);
    const { before, after, isChanged, drift } = await live.here.hook.apply(confirmed);
    const difference = differences(before, after);
    const refused = after.state.refused ?? [];
    const pods = Object.keys(after.state.pods).length;
    const told = warnOf(live.settings.policies, after.kept, warnings);
    if (options.output === 'json')
      printJson({
        folder: live.settings.policies,
        isChanged,
        drift,
        ...difference,
        relabelled: relabelled(before, after),
        refused,
        staged: stagedRefs(manifestsOf(after.kept).world),
        warnings: told.lines,
        pods,
      });
    else {
      const { added, changed, removed } = difference;
      const count = added.length + changed.length + removed.length;
      const policies = counted(policiesOf(after).size, 'policy', 'policies');
      const head = `In force for ${counted(pods, 'pod')}: ${policies} of ${live.settings.policies}`;
      print(isChanged ? `${head}; ${counted(count, 'difference')}.` : `${head}; nothing changed.`);
      const staged = stagedRefs(manifestsOf(after.kept).world);
      if (staged.length > 0) print(stagedText(staged.length));
      if (drift > 0) print(`${driftText(drift)}: it is put right.`);
      const moved = relabelled(before, after);
      const lines = listed('+', added) + listed('~', changed) + listed('-', removed) + listed('labels of', moved);
      if (lines !== '') print(lines);
    }
    return told.isFine && refused.length === 0 ? exit.yes : exit.no;
  },
);
