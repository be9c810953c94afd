import type { Family } from '../ip/address.ts';
import { type ArgsCni, type RuntimeConfig, readArgsCni, readRuntimeConfig, unheeded } from './capability.ts';
import { type Dns, dns } from './dns.ts';
import { CniError, codes, messageOf } from './error.ts';
import {
  type Fields,
  fields,
  invalid,
  type JsonObject,
  listOf,
  needed,
  optional,
  present,
  type Reader,
  text,
} from './field.ts';
import { builtinIpam, type Ipam, ipamKeys, readIpam, type Take } from './ipam.ts';
import { type OwnKeys, ownKeys, readOwnKeys } from './own-keys.ts';
import type { AttachmentName, Role, Verb } from './request.ts';
import { type Result, readResult } from './result.ts';
import { meantKey } from './spelling.ts';
import { type CniVersion, impliedVersion, parseVersion } from './version.ts';

/** The network configuration, read once: every default is filled in, nothing needs a second check. */
export interface Config extends OwnKeys {
  readonly cniVersion: CniVersion;
  /** Matches the containerID's pattern, so it is safe as a file name. */
  readonly name: string;
  readonly type: string;
  readonly ipam?: Ipam;
  readonly dns?: Dns;
  readonly runtime: RuntimeConfig;
  readonly argsCni: ArgsCni;
  readonly prevResult?: Result;
  readonly validAttachments: ValidAttachments;
  /** Stdin to the byte: what a delegate gets. */
  readonly text: string;
  /** Lines for stderr: misspelt keys, and faults that DEL and GC overlooked. */
  readonly warnings: readonly string[];
}

/**
 * `cni.dev/valid-attachments` of GC, or its old name `cni.dev/attachments`: which attachments of this network still live.
 * undefined: the key is absent; null: a runtime that knows none (Go's nil slice); a list: those, maybe none.
 */
export type ValidAttachments = readonly AttachmentName[] | null | undefined;

/**
 * Which attachments GC must keep. null and [] are both a runtime's word that none lives: all of this network is released.
 * undefined (`cnitool gc` sends no key): no runtime vouches for any, so only what is provably dead may go.
 */
export const attachmentsToKeep = (said: ValidAttachments): readonly AttachmentName[] | undefined =>
  said ?? (said === null ? [] : undefined);
const specKeys = ['cniVersion', 'name', 'type', 'capabilities', 'runtimeConfig', 'args', 'prevResult', 'dns', 'ipam'];
/** Least MTU of a link, in bytes (RFC 791 for IPv4; RFC 8200, 5 for IPv6): below it the kernel takes the family away. */
export const leastMtu: Readonly<Record<Family, number>> = { 4: 68, 6: 1280 };

/** @throws CniError code 7 where pods with addresses of these families could not use one of them */
export function refuseTooSmallMtu(value: number | undefined, families: Iterable<Family>): void {
  if (value === undefined || value >= leastMtu[6] || ![...families].includes(6)) return;
  throw invalid('mtu', value, `${leastMtu[6]} or more for pods with IPv6 addresses, or ranges of IPv4 alone`);
}

const networkName: Reader<string> = (value, at) => {
  if (typeof value !== 'string' || !/^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/.test(value))
    throw invalid(at, value, 'a letter or digit, then letters, digits, "_", "." or "-"');
  return value;
};

const attachment: Reader<AttachmentName> = (value, at) => {
  const from = fields(value, at);
  return { containerID: needed(from, 'containerID', text), ifname: needed(from, 'ifname', text) };
};

/** Both names, in case they differ: whatever either of them keeps alive is kept. Never read leniently. */
function readValidAttachments(raw: JsonObject, from: Fields): ValidAttachments {
  const names = ['cni.dev/valid-attachments', 'cni.dev/attachments'];
  const lists = names.flatMap(name => optional(from, name, listOf(attachment)) ?? []);
  if (names.some(name => from.members.has(name))) return lists;
  return Object.keys(raw).some(key => names.includes(key.toLowerCase())) ? null : undefined;
}

function misspelt(from: Fields, known: readonly string[]): string[] {
  return [...from.members.values()].flatMap(({ key }) => {
    const meant = meantKey(key, known);
    const at = from.at === '' ? key : `${from.at}.${key}`;
    return meant === undefined ? [] : [`Unknown key ${JSON.stringify(at)} is ignored: did you mean "${meant}"?`];
  });
}

/**
 * prevResult in whatever version it has; a version other than the config's is refused.
 * @throws CniError code 7
 */
function readPrevResult(from: Fields, version: CniVersion): Result | undefined {
  const read: Reader<Result> = (value, at) => {
    const found = readResult(value, at, version);
    if (found.version !== version) throw invalid(`${at}.cniVersion`, found.version, `the config's, "${version}"`);
    return found.result;
  };
  return optional(from, 'prevResult', read);
}

/** Reads prevResult for DEL: garbage counts as absent, and any version is taken. */
function readPrevResultLeniently(from: Fields, version: CniVersion, warnings: string[]): Result | undefined {
  try {
    return optional(from, 'prevResult', (value, at) => readResult(value, at, version).result);
  } catch (error) {
    warnings.push(`prevResult is ignored: ${messageOf(error)}`);
    return undefined;
  }
}

function decode(stdin: string): JsonObject {
  let value: unknown;
  try {
    value = JSON.parse(stdin);
  } catch (error) {
    const said = messageOf(error);
    throw new CniError(codes.decodingFailure, `Cannot decode the network configuration: ${said}`);
  }
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as JsonObject;
  throw new CniError(codes.decodingFailure, 'Cannot decode the network configuration: expected a JSON object');
}

const version: Reader<string> = (value, at) => {
  if (typeof value === 'string') return value;
  throw new CniError(codes.decodingFailure, `Cannot decode "${at}": expected a string such as "1.1.0"`);
};

/** Reads at once what must be right, and leniently what only matters to verbs that make something. */
function takeFor(verb: Verb, warnings: string[]): Take {
  if (verb !== 'DEL' && verb !== 'GC') return optional;
  return (from, key, reader) => {
    try {
      return optional(from, key, reader);
    } catch (error) {
      if (!(error instanceof CniError)) throw error;
      warnings.push(`${error.message} (overlooked on ${verb})`);
      return undefined;
    }
  };
}

/**
 * The network configuration of a call.
 * DEL and GC only close and release, and their config may have been edited since ADD: there a wrong value is a
 * warning and counts as absent, save for name, version, enforcer, folders, `ipam.type` and the list of valid attachments.
 * @throws CniError code 6 (not JSON), 1 (version), 7 (anything else, naming key, value and what is expected)
 */
export function parseConfig(stdin: string, verb: Verb, role: Role = 'tollgate'): Config {
  const raw = decode(stdin);
  const from = fields(raw, '');
  const cniVersion = parseVersion(optional(from, 'cniVersion', version) ?? impliedVersion);
  const name = needed(from, 'name', networkName);
  const warnings = role === 'tollgate' ? misspelt(from, [...specKeys, ...ownKeys]) : [];
  const take = takeFor(verb, warnings);
  const ipam = optional(from, 'ipam', (value, at) => readIpam(value, at, take));
  if (ipam?.type === builtinIpam) warnings.push(...misspelt(fields(ipam.raw, 'ipam'), ipamKeys));
  const none = fields({}, '');
  const isAdd = verb === 'ADD' || verb === 'CHECK';
  // The main plugin's keys are its own affair: bridge has an mtu, too.
  const own = readOwnKeys(role === 'tollgate' ? from : none, take);
  const runtimeConfig = take(from, 'runtimeConfig', fields) ?? none;
  const runtime = readRuntimeConfig(runtimeConfig, take);
  if (verb === 'ADD' && role === 'tollgate') warnings.push(...unheeded(runtimeConfig, from.members.has('prevresult')));
  if (isAdd || verb === 'STATUS')
    refuseTooSmallMtu(
      own.mtu,
      [...runtime.rangeSets, ...(ipam?.rangeSets ?? [])].flat().map(({ subnet }) => subnet.family),
    );
  return present<Config>({
    cniVersion,
    name,
    type: take(from, 'type', text) ?? '',
    ipam,
    dns: role === 'tollgate' ? take(from, 'dns', dns) : undefined,
    runtime,
    argsCni: readArgsCni(take(take(from, 'args', fields) ?? none, 'cni', fields) ?? none, take),
    prevResult: isAdd ? readPrevResult(from, cniVersion) : readPrevResultLeniently(from, cniVersion, warnings),
    validAttachments: verb === 'GC' ? readValidAttachments(raw, from) : undefined,
    text: stdin,
    warnings,
    ...own,
  });
}
