/**
 * `tollgate uninstall`: what install, the agent and the plugin put on a node is taken away, in an order in which no pod is
 * ungated and no DEL finds its plugin gone: first no new pods, then no pods, then the rest.
 */
import { existsSync } from 'node:fs';
import { inventory, type PluggedIn } from '../../pod/inventory.ts';
import { allLinks } from '../../pod/links.ts';
import { claimNode } from '../../rpc/listen.ts';
import { StateError } from '../../state/error.ts';
import { command, exit, normalPath, outputOption, print, printJson, warn } from '../command.ts';
import { type Live, liveOptions, openLive } from '../live-node.ts';
import { type NodeFolders, networkSteps, nodeSteps, type Removal } from './removals.ts';

/** A reason why the uninstallation stops here, and what to do about it. */
interface Obstacle {
  readonly why: string;
  readonly fix: string;
}

interface Uninstalled {
  readonly steps: readonly Removal[];
  readonly obstacle?: Obstacle;
}

/** An agent would write conflist and table again. @param error what `claimNode` threw */
const agentObstacle = (error: unknown): Obstacle => ({
  why: `An agent or worker is running here (${error instanceof Error ? error.message : String(error)})`,
  fix: 'Stop it: `systemctl disable --now tollgate-agent.socket tollgate-agent.service`, or in a cluster `kubectl --namespace kube-system delete daemonset tollgate`. Pods keep their network and their gates meanwhile.',
});

const nameOf = ({ namespace, name, containerID }: PluggedIn): string =>
  namespace === undefined || name === undefined ? `container ${containerID}` : `${namespace}/${name}`;

/** Their DEL needs the plugin, and they need their gates. */
function podObstacle({ here, store }: Live): Obstacle | undefined {
  const state = here.hook.table.store.read()?.state;
  const pods = inventory(allLinks(here.host), store, here, state).filter(({ standing }) => standing !== 'dead');
  if (pods.length === 0) return undefined;
  const shown = pods.slice(0, 5).map(nameOf).join(', ');
  const more = pods.length > 5 ? ` and ${pods.length - 5} more` : '';
  return {
    why: `Plugged in here: ${shown}${more}. They keep the plugin, which their DEL needs, and their gates`,
    fix: 'Delete them (in a cluster: `kubectl drain`, then what `tollgate pods` still shows), and run `tollgate uninstall` again.',
  };
}

/** Milliseconds to wait for a call that changes the table. */
const LOCK_TIMEOUT_MS = 60_000;

interface Wanted {
  readonly folders: NodeFolders;
  /** Whether the network goes, too, and not only what carries it out. */
  readonly conflist: boolean;
  readonly isDry: boolean;
}

async function uninstalled(live: Live, { folders, conflist, isDry }: Wanted): Promise<Uninstalled> {
  const take = (steps: readonly Removal[]): readonly Removal[] => {
    if (!isDry) for (const step of steps) step.take();
    return steps;
  };
  // Held to the end: no agent begins meanwhile, and no ADD has its pod judged by the table that is about to go.
  using held = new DisposableStack();
  const isUsed = existsSync(folders.runDir);
  try {
    if (isUsed) held.use(claimNode(folders.runDir));
  } catch (error) {
    if (error instanceof StateError) throw error;
    return { steps: [], obstacle: agentObstacle(error) };
  }
  const steps = conflist ? take(networkSteps(folders)) : [];
  if (isUsed && !isDry) held.use(await live.here.hook.table.store.lock(LOCK_TIMEOUT_MS));
  const obstacle = podObstacle(live);
  return obstacle ? { steps, obstacle } : { steps: [...steps, ...take(nodeSteps(folders, live))] };
}

function tell({ steps, obstacle }: Uninstalled, isDry: boolean, policies: string): void {
  for (const { what } of steps) print(isDry ? `would ${what}` : `did: ${what}`);
  if (obstacle) print(`${obstacle.why}.\n  ${obstacle.fix}`);
  else if (steps.length === 0) print('Nothing of tollgate is on this node.');
  else if (!isDry && existsSync(policies)) print(`Your policies stay in ${policies}.`);
}

export const uninstall = command(
  'uninstall',
  'Take off this node what install, agent and plugin put on it',
  parser =>
    parser
      .options({
        'bin-dir': {
          type: 'string',
          default: '/opt/cni/bin',
          requiresArg: true,
          coerce: normalPath,
          describe: 'Where `tollgate install` put the executables',
        },
        'conf-dir': {
          type: 'string',
          default: '/etc/cni/net.d',
          requiresArg: true,
          coerce: normalPath,
          describe: 'Where the conflist is',
        },
        conflist: {
          type: 'boolean',
          default: true,
          describe: 'Whether conflists with tollgate go, too; --no-conflist leaves them as they are',
        },
        'dry-run': { type: 'boolean', default: false, describe: 'Say what would be done, and do nothing' },
        ...outputOption,
        ...liveOptions,
      })
      .example('sudo $0 uninstall --dry-run', 'what is here')
      .example('sudo $0 uninstall', 'first no new pods; the rest once no pod is plugged in')
      .epilog(
        'In this order: the conflist goes, so that no new pod is plugged in, and networks that agent --take-over had moved aside come back; while pods are plugged in everything else stays, their gates too; then table, routes, executables, drop-ins and records go. A conflist that was changed is kept with the ending .uninstalled; policies are never touched. Exit code 0: nothing is left, or with --dry-run nothing would be; 1: pods or an agent are still here, as is said. In -o json, done is true where nothing is left, and never with --dry-run.',
      ),
  async ({ binDir, confDir, conflist, dryRun, output, ...places }) => {
    using live = openLive(places, warn);
    const folders = { binDir, confDir, runDir: places.runDir };
    const found = await uninstalled(live, { folders, conflist, isDry: dryRun });
    const { steps, obstacle } = found;
    if (output === 'json')
      printJson({
        dryRun,
        steps: steps.map(({ what }) => what),
        obstacle: obstacle ?? null,
        done: !obstacle && !dryRun,
      });
    else tell(found, dryRun, live.settings.policies);
    return obstacle ? exit.no : exit.yes;
  },
);
