import { type NodeSettings, readNodeSettings } from '../cni/own-keys.ts';
import { type FoundNode, findNode } from '../enforce/found.ts';
import { currentNetns } from '../kernel/netns.ts';
import { DiskNodeStore } from '../nodestore/disk-store.ts';
import { type Here, openHere } from '../pod/here.ts';
import { recordedNode } from '../pod/pod-records.ts';
import { openStore, type Store } from '../state/store.ts';
import { normalPath } from './command.ts';

const folder = (describe: string, fallback: string) =>
  ({ type: 'string', describe, defaultDescription: fallback, requiresArg: true, coerce: normalPath }) as const;

/** `--state-dir`, `--run-dir`, `--policies`: as in the config, with its defaults. */
export const liveOptions = {
  'state-dir': folder('Where attachments and addresses are kept', "/var/lib/tollgate, or what this node's table says"),
  'run-dir': { ...folder("Where the node's state and lock are", '/run/tollgate'), default: '/run/tollgate' },
  policies: folder('Folder of policy manifests', "/etc/tollgate/policies, or what this node's table says"),
} as const;

export interface LiveArguments {
  readonly stateDir: string | undefined;
  readonly runDir: string;
  readonly policies: string | undefined;
}

export interface Live extends Disposable {
  /** By the node's record, its table, or records of its pods; undefined where no pod is plugged in in this network namespace. */
  readonly found: FoundNode | undefined;
  readonly settings: NodeSettings;
  readonly store: Store;
  readonly here: Here;
}

/** Settings that a command line may override for the while. */
export type Overrides = Readonly<Record<string, unknown>>;

/**
 * The node as it was found; what is named on the command line goes before what the table says, and its owner is asked
 * for before anything is changed.
 * @param log a line for a person: warnings
 */
export function openLive(
  { stateDir, runDir, policies }: LiveArguments,
  log: (line: string) => void,
  overrides: Overrides = {},
): Live {
  const netns = currentNetns();
  const found =
    findNode(new DiskNodeStore(runDir, netns)) ?? recordedNode(stateDir ?? readNodeSettings({}).stateDir, netns);
  const { owner, settings: gate } = found ?? {};
  const settings = readNodeSettings({
    stateDir: stateDir ?? owner?.stateDir,
    runDir,
    policies: policies ?? owner?.policies,
    enforcer: owner?.enforcer,
    nflogGroup: gate?.nflogGroup,
    enforceEgressToNode: gate?.enforceEgressToNode,
    ...overrides,
  });
  const here = openHere(settings, process.env, log);
  return { found, settings, store: openStore(settings.stateDir), here, [Symbol.dispose]: () => here[Symbol.dispose]() };
}
