/** tollgate's own keys of a network configuration, and the settings of a node among them. */
import type { Prefix } from '../ip/address.ts';
import {
  absolutePath,
  type Fields,
  fields,
  flag,
  integer,
  invalid,
  listOf,
  mapOf,
  oneOf,
  optional,
  prefix,
  present,
  type Reader,
  text,
  unlessBlank,
} from './field.ts';
import type { Take } from './ipam.ts';

/** The program that judges pods: `enforcer` in README's table. */
export type Enforcer =
  | { readonly kind: 'inline' | 'agent' | 'none' }
  | { readonly kind: 'exec' /** Absolute. */; readonly path: string };

export type LogLevel = 'silent' | 'error' | 'warn' | 'info' | 'debug';

/** Keys of tollgate's own, with their defaults; the table of the README. */
export interface OwnKeys {
  /** Bytes; absent: that of the device with the default route. */
  readonly mtu?: number;
  readonly ipMasq: boolean;
  /** Absent: the pod ranges themselves (and the cluster's, from the agent). */
  readonly nonMasqueradeCIDRs?: readonly Prefix[];
  readonly labels: ReadonlyMap<string, string>;
  readonly enforcer: Enforcer;
  /** Folder of manifests. */
  readonly policies: string;
  readonly established: 'cut' | 'keep';
  /** Seconds. */
  readonly enforceTimeout: number;
  readonly enforceEgressToNode: boolean;
  readonly nflogGroup: number;
  /** Seconds. */
  readonly agentGrace: number;
  readonly stateDir: string;
  readonly runDir: string;
  readonly logLevel: LogLevel;
  readonly logFile?: string;
}

/** Settings of a node rather than of one network: where its state is, who judges its pods, how its gate enforces. */
export type NodeSettings = Pick<
  OwnKeys,
  | 'enforcer'
  | 'policies'
  | 'established'
  | 'enforceTimeout'
  | 'enforceEgressToNode'
  | 'nflogGroup'
  | 'stateDir'
  | 'runDir'
>;

export const formatEnforcer = (enforcer: Enforcer): string =>
  enforcer.kind === 'exec' ? `exec:${enforcer.path}` : enforcer.kind;

export const ownKeys = [
  'mtu',
  'ipMasq',
  'nonMasqueradeCIDRs',
  'labels',
  'enforcer',
  'policies',
  'established',
  'enforceTimeout',
  'enforceEgressToNode',
  'nflogGroup',
  'agentGrace',
  'stateDir',
  'runDir',
  'logLevel',
  'logFile',
] as const satisfies readonly (keyof OwnKeys)[];

const enforcer: Reader<Enforcer> = (value, at) => {
  if (value === 'inline' || value === 'agent' || value === 'none') return { kind: value };
  const path = typeof value === 'string' && value.startsWith('exec:/') ? value.slice('exec:'.length) : undefined;
  if (path === undefined || path.includes('\0'))
    throw invalid(at, value, '"inline", "agent", "none" or "exec:<absolute path>"');
  return { kind: 'exec', path };
};

/** 0 is "choose yourself", as for bridge and ptp; 68 is what IPv4 needs at least (RFC 791). */
const mtu: Reader<number | undefined> = (value, at) => {
  if (value === 0) return undefined;
  if (!Number.isInteger(value) || (value as number) < 68 || (value as number) > 65535)
    throw invalid(at, value, '0 (automatic) or an integer from 68 to 65535');
  return value as number;
};

/**
 * Where state is and who judges is read strictly on every verb: a DEL that looked elsewhere would leave everything
 * behind, and one that took an agent's node for an inline one would put the folder's policies in the agent's place.
 */
export function readOwnKeys(from: Fields, take: Take): OwnKeys {
  const seconds = integer(1, 3600);
  return present<OwnKeys>({
    mtu: take(from, 'mtu', mtu),
    ipMasq: take(from, 'ipMasq', flag) ?? false,
    nonMasqueradeCIDRs: take(from, 'nonMasqueradeCIDRs', listOf(prefix)),
    labels: take(from, 'labels', mapOf(text)) ?? new Map(),
    enforcer: optional(from, 'enforcer', enforcer) ?? { kind: 'inline' },
    policies: optional(from, 'policies', absolutePath) ?? '/etc/tollgate/policies',
    established: take(from, 'established', oneOf('cut', 'keep')) ?? 'cut',
    enforceTimeout: take(from, 'enforceTimeout', seconds) ?? 60,
    enforceEgressToNode: take(from, 'enforceEgressToNode', flag) ?? false,
    nflogGroup: take(from, 'nflogGroup', integer(0, 65535)) ?? 7467,
    agentGrace: take(from, 'agentGrace', integer(0, 86400)) ?? 60,
    stateDir: optional(from, 'stateDir', absolutePath) ?? '/var/lib/tollgate',
    runDir: optional(from, 'runDir', absolutePath) ?? '/run/tollgate',
    logLevel: take(from, 'logLevel', oneOf('silent', 'error', 'warn', 'info', 'debug')) ?? 'warn',
    logFile: take(from, 'logFile', unlessBlank(absolutePath)),
  });
}

/**
 * Settings of a node, from values that have not been checked: a command line's, or a table's owner. Members that are
 * undefined get the defaults of the configuration.
 * @throws CniError code 7, naming key, value and what is expected
 */
export const readNodeSettings = (given: Readonly<Partial<Record<keyof NodeSettings, unknown>>>): NodeSettings =>
  readOwnKeys(fields(present(given), ''), optional);
