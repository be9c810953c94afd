/**
 * The conflist of a Kubernetes node: runtimes take a node for ready as soon as it is there, so it is written when, and
 * only when, pods can be plugged in.
 */
import { readdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { Owner } from '../gate/node-state.ts';
import { readOrNone } from '../state/atomic.ts';
import { type ConfFile, confFilesIn, placeConf, readForeign, unusedName } from '../state/conf-folder.ts';
import { doing } from '../state/error.ts';
import { makeFolders } from '../state/make-folders.ts';

export interface ConflistSettings {
  readonly owner: Owner;
  readonly runDir: string;
  readonly ipMasq: boolean;
  readonly mtu?: number;
  readonly nflogGroup: number;
  readonly enforceEgressToNode: boolean;
  readonly established: 'cut' | 'keep';
}

const defaults: Readonly<Record<string, unknown>> = {
  stateDir: '/var/lib/tollgate',
  runDir: '/run/tollgate',
  policies: '/etc/tollgate/policies',
  nflogGroup: 7467,
  enforceEgressToNode: false,
  established: 'cut',
};

/** Keys whose values differ from the defaults, so that a person sees at once what is special. */
const unusual = (keys: Readonly<Record<string, unknown>>): object =>
  Object.fromEntries(Object.entries(keys).filter(([key, value]) => value !== undefined && value !== defaults[key]));

export function conflistText({ owner, ipMasq, ...rest }: ConflistSettings): string {
  const { enforcer, stateDir, policies } = owner;
  const plugin = {
    type: 'tollgate',
    enforcer,
    ipMasq,
    ipam: { type: 'tollgate-ipam', ranges: 'node' },
    ...unusual({ ...rest, stateDir, policies }),
    capabilities: {
      ips: true,
      mac: true,
      dns: true,
      portMappings: true,
      'io.kubernetes.cri.pod-annotations': true,
    },
  };
  const conflist = { cniVersion: '1.0.0', cniVersions: ['1.0.0', '1.1.0'], name: 'tollgate', plugins: [plugin] };
  return `${JSON.stringify(conflist, undefined, 2)}\n`;
}

const FILE = '10-tollgate.conflist';
/** Ending of a file that was moved out of the way: no runtime reads such a name. */
export const MOVED_ASIDE = '.before-tollgate';

/** Configurations of others, as runtimes would read them: neither ours, nor such as configure the loopback link only. */
const foreignNetworks = (confDir: string): readonly ConfFile[] =>
  confFilesIn(confDir).filter(({ file, conf }) => {
    const isLoopback = conf && conf.types.length > 0 && conf.types.every(type => type === 'loopback');
    return file !== FILE && !isLoopback;
  });

/** How many attachments each network has, by what libcni notes down of each: NAME-ID-IFNAME, with the name inside. */
function attachmentsOf(cacheDir: string): ReadonlyMap<string, number> {
  const counts = new Map<string, number>();
  let files: readonly string[];
  try {
    files = readdirSync(join(cacheDir, 'results'));
  } catch {
    return counts;
  }
  for (const file of files) {
    try {
      const noted: unknown = JSON.parse(readForeign(join(cacheDir, 'results', file)));
      const { networkName } = (noted ?? {}) as { readonly networkName?: unknown };
      if (typeof networkName === 'string') counts.set(networkName, (counts.get(networkName) ?? 0) + 1);
    } catch {
      // Half written, or of another kind: it tells of no attachment.
    }
  }
  return counts;
}

export interface ConflistPlace {
  readonly confDir: string;
  /** libcni's, where runtimes note who is attached to what. */
  readonly cacheDir: string;
  /** Whether the networks of others give way to ours. */
  readonly takeOver: boolean;
}

/**
 * Why our conflist should not be written: another network's file comes before ours, so that ours would count for nothing, or
 * another network has pods on this node, whose DEL our plugin would get, which does not know them, and which no gate of ours
 * holds.
 */
function standsInTheWay(confDir: string, attachments: ReadonlyMap<string, number>): readonly string[] {
  return foreignNetworks(confDir).flatMap(({ file, conf }) => {
    const name = conf?.name;
    const pods = name === undefined ? 0 : (attachments.get(name) ?? 0);
    const reasons = [
      ...(file < FILE ? ['runtimes would take it before ours'] : []),
      ...(pods > 0 ? [`${pods} attachments of its network ${name} are on this node`] : []),
    ];
    return reasons.length > 0 ? [`${join(confDir, file)} is another network's, and ${reasons.join(', and ')}`] : [];
  });
}

/** Gives files of other networks a name that no runtime reads: their own with an ending. @returns the files that were moved */
function moveAside(confDir: string): readonly string[] {
  const before = foreignNetworks(confDir).filter(({ file }) => file < FILE);
  return before.map(({ file }) => {
    const path = join(confDir, file);
    doing('move aside', path, () => renameSync(path, unusedName(path, MOVED_ASIDE)));
    return path;
  });
}

const makeFolder = (confDir: string): void => doing('make folder', confDir, () => void makeFolders(confDir, 0o755));

// A node that has been ours stays ours: pods of another network no longer count, only files before ours.
const obstacles = ({ confDir, cacheDir }: ConflistPlace, isThere: boolean): readonly string[] =>
  standsInTheWay(confDir, isThere ? new Map() : attachmentsOf(cacheDir));

/** Why a node that is not ours yet is not to become it; none where it is ours, or the others give way. @throws StateError */
export function foreignTo(place: ConflistPlace): readonly string[] {
  makeFolder(place.confDir);
  const isThere = textOf(join(place.confDir, FILE)) !== undefined;
  return isThere || place.takeOver ? [] : obstacles(place, false);
}

/** Text of our own conflist; undefined where there is none. @throws StateError it cannot be read, or is no file */
const textOf = (path: string): string | undefined => readOrNone(path, () => readForeign(path));

export interface ConflistState {
  readonly isThere: boolean;
  readonly isWritten: boolean;
  /** Files of others that were moved out of the way. */
  readonly moved: readonly string[];
  /** Conflists of others that keep ours away, or that `takeOver` overruled. */
  readonly inTheWay: readonly string[];
}

/** Puts the conflist there; one that says the same stays as it is. @throws StateError */
export function keepConflist(place: ConflistPlace, text: string): ConflistState {
  const { confDir, takeOver } = place;
  const path = join(confDir, FILE);
  makeFolder(confDir);
  const old = textOf(path);
  const inTheWay = obstacles(place, old !== undefined);
  const isRefused = inTheWay.length > 0 && !takeOver;
  const isWritten = !isRefused && old !== text;
  if (isWritten) placeConf(path, text);
  // Our file is there first, so that there is no moment without a network.
  const moved = takeOver ? moveAside(confDir) : [];
  return { isThere: isWritten || old !== undefined, isWritten, moved, inTheWay };
}

/** Removes our conflist: the runtime then tells kubelet that the node has no network. */
export const removeConflist = (confDir: string): void =>
  doing('remove', join(confDir, FILE), () => rmSync(join(confDir, FILE), { force: true }));
