/**
 * The conflist of a Kubernetes node: runtimes take a node for ready as soon as it is there, so it is written when, and
 * only when, pods can be plugged in. containerd hears renames and no creation, so the file is made aside.
 */
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { Owner } from '../enforce/node.ts';
import { readText, replaceFile } from '../state/atomic.ts';
import { doing } from '../state/error.ts';

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

/** What is not as usual only, so that a person sees at once what is special. */
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
/** Of a file that was moved out of the way: no runtime reads such a name. */
const ASIDE = '.before-tollgate';

interface Network {
  readonly file: string;
  readonly name: string | undefined;
}

/** Undefined where the file is ours, or configures the loopback link only. Whatever else it holds, it is somebody's. */
function foreignIn(confDir: string, file: string): Network | undefined {
  let value: { name?: unknown; type?: unknown; plugins?: { type?: unknown }[] };
  try {
    value = JSON.parse(readFileSync(join(confDir, file), 'utf8'));
  } catch {
    return { file, name: undefined };
  }
  const types = [value.type, ...(Array.isArray(value.plugins) ? value.plugins : []).map(plugin => plugin?.type)];
  const named = types.filter(type => type !== undefined);
  if (named.length > 0 && named.every(type => type === 'loopback')) return undefined;
  return { file, name: typeof value.name === 'string' ? value.name : undefined };
}

/** Configurations of others, as runtimes would read them. */
function foreignNetworks(confDir: string): readonly Network[] {
  const files = doing('list', confDir, () => readdirSync(confDir));
  return files
    .filter(file => /\.(conf|conflist|json)$/.test(file) && file !== FILE)
    .sort()
    .flatMap(file => foreignIn(confDir, file) ?? []);
}

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
      const { networkName } = JSON.parse(readFileSync(join(cacheDir, 'results', file), 'utf8'));
      counts.set(networkName, (counts.get(networkName) ?? 0) + 1);
    } catch {
      // Half written, or of another kind: no attachment that anybody could tell of.
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
 * Why ours should not be written: another network's file comes before ours, so that ours would count for nothing, or has
 * pods on this node, whose DEL our plugin would get, that knows nothing of them, and that no gate of ours holds.
 */
function standsInTheWay(confDir: string, attachments: ReadonlyMap<string, number>): readonly string[] {
  return foreignNetworks(confDir).flatMap(({ file, name }) => {
    const pods = name === undefined ? 0 : (attachments.get(name) ?? 0);
    const reasons = [
      ...(file < FILE ? ['runtimes would take it before ours'] : []),
      ...(pods > 0 ? [`${pods} attachments of its network ${name} are on this node`] : []),
    ];
    return reasons.length > 0 ? [`${join(confDir, file)} is another network's, and ${reasons.join(', and ')}`] : [];
  });
}

/** Out of every runtime's sight, under its own name with an ending. @returns the files that were moved */
function moveAside(confDir: string): readonly string[] {
  const before = foreignNetworks(confDir).filter(({ file }) => file < FILE);
  return before.map(({ file }) => {
    const path = join(confDir, file);
    doing('move aside', path, () => renameSync(path, `${path}${ASIDE}`));
    return path;
  });
}

export interface Kept {
  readonly isThere: boolean;
  readonly isWritten: boolean;
  /** Files of others that were moved out of the way. */
  readonly moved: readonly string[];
  /** What keeps ours away, or, with `takeOver`, was overruled. */
  readonly inTheWay: readonly string[];
}

/** Puts the conflist there; one that says the same stays as it is. @throws StateError */
export function keepConflist({ confDir, cacheDir, takeOver }: ConflistPlace, text: string): Kept {
  const path = join(confDir, FILE);
  doing('make folder', confDir, () => mkdirSync(confDir, { recursive: true, mode: 0o755 }));
  const old = readText(path);
  // A node that has been ours stays ours: only what comes before our file can take it away then.
  const inTheWay = standsInTheWay(confDir, old === undefined ? attachmentsOf(cacheDir) : new Map());
  const isRefused = inTheWay.length > 0 && !takeOver;
  const isWritten = !isRefused && old !== text;
  if (isWritten) replaceFile(path, text, 0o644);
  // Ours first: there is no moment without a network.
  const moved = takeOver ? moveAside(confDir) : [];
  return { isThere: isWritten || old !== undefined, isWritten, moved, inTheWay };
}

/** Takes ours away: the runtime tells kubelet that the node has no network. */
export const removeConflist = (confDir: string): void =>
  doing('remove', join(confDir, FILE), () => rmSync(join(confDir, FILE), { force: true }));
