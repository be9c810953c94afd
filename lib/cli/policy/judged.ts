/** The world that questions about policy are asked of: manifests on the command line, or the node as it is. */

import { rulesetOfFolder } from '../../enforce/folder-rules.ts';
import type { FolderTable } from '../../enforce/folder-table.ts';
import type { NodeState } from '../../gate/node-state.ts';
import { worldOfNode } from '../../gate/node-world.ts';
import { type Kept, manifestsOf, warningsOf } from '../../nodestore/policy-folder.ts';
import type { Ruleset } from '../../policy/compile/ruleset.ts';
import type { EvaluateOptions } from '../../policy/evaluate/evaluate.ts';
import type { Document } from '../../policy/manifest/manifest.ts';
import type { World } from '../../policy/model/model.ts';
import { formatByObject, type Problem } from '../../policy/model/problem.ts';
import { manifestsOfAgent } from '../ask-agent.ts';
import { warn } from '../command.ts';
import { type Live, type LiveArguments, openLive } from '../live-node.ts';
import { worldIn } from './manifests.ts';

const LOCK_TIMEOUT_MS = 60_000;

export interface JudgedWorld {
  readonly world: World;
  readonly problems: readonly Problem[];
  readonly options: EvaluateOptions;
}

export interface LiveJudged extends JudgedWorld {
  /** The manifests in force. */
  readonly documents: readonly Document[];
  /** The ruleset that the table was made from. */
  readonly ruleset: Ruleset;
  readonly state: NodeState;
}

/** The manifests in force: the folder's as they were applied, or what the agent has heard. @throws Error where it is away */
export const keptOf = async ({ here, found }: Live, runDir: string): Promise<Kept> =>
  found?.owner.enforcer === 'agent' ? await manifestsOfAgent(runDir) : here.hook.table.store.readApplied();

/**
 * Asked again under the lock: a call writes the node's record first and then the manifests that it has put into force.
 * @throws Error where these manifests are lost: what the table holds only the kernel knows
 */
async function refuseLost(table: FolderTable): Promise<void> {
  if (table.isKnown()) return;
  using _ = await table.store.lock(LOCK_TIMEOUT_MS);
  if (table.isKnown()) return;
  throw new Error(
    'Cannot tell which policies are in force: the file that keeps them is lost; `tollgate policy apply` puts into force what the folder says',
  );
}

/**
 * The pods that are plugged in and the policies that are in force, which may not be what the folder says by now.
 * @throws Error where no pod is plugged in
 */
export async function liveWorld(options: LiveArguments): Promise<LiveJudged> {
  using live = openLive(options, warn);
  const { table } = live.here.hook;
  const state = table.store.read()?.state;
  if (!state)
    throw new Error(
      live.found
        ? 'Cannot judge this node: its record is lost; `tollgate verify --repair` makes it again'
        : 'Cannot judge this node: no pod is plugged in here; for manifests alone, name them with -f (and --base)',
    );
  if (state.owner.enforcer !== 'agent') await refuseLost(table);
  const { judge, enforceEgressToNode } = state.settings;
  if (judge === 'none' || judge === 'exec')
    warn(`policies are not enforced on this node: its enforcer is ${state.owner.enforcer}`);
  if (judge !== 'none' && table.drift().length > 0)
    warn(
      "this node's table is not what its file says, and the answer is the file's: tollgate verify shows how they differ",
    );
  const applied = await keptOf(live, options.runDir);
  for (const line of warningsOf({ path: live.settings.policies, kept: applied })) warn(line);
  const { world, problems } = manifestsOf(applied);
  const documents = Object.values(applied).flatMap(file => file.documents ?? []);
  const ruleset = rulesetOfFolder(applied, state);
  return { world: worldOfNode(world, state), problems, documents, ruleset, state, options: { enforceEgressToNode } };
}

/** The world of the files where some are named, else of this node. */
export const judgedWorld = async (
  options: LiveArguments & { readonly file?: string[] | undefined },
): Promise<JudgedWorld> => (options.file ? { ...worldIn(options.file), options: {} } : await liveWorld(options));

/** A line on stderr for each object that has errors. @returns whether there are any */
export function warnOfErrors({ problems }: Pick<JudgedWorld, 'problems'>): boolean {
  const errors = problems.filter(({ severity }) => severity === 'error');
  for (const line of formatByObject(errors)) warn(line);
  return errors.length > 0;
}
