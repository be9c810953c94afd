import { printable } from '../tag/printable.ts';
import { type CniArgs, noArgs, parseArgs } from './args.ts';
import { type Config, parseConfig } from './config.ts';
import { CniError, codes, messageOf } from './error.ts';
import type { RequestedAddress } from './requested-address.ts';
import { atLeast, type CniVersion, impliedVersion, isSupported, newestVersion } from './version.ts';

/** One interface in one container: what ADD makes, and what everything of ours is keyed on. */
export interface AttachmentName {
  readonly containerID: string;
  readonly ifname: string;
}

/** Environment of a call about one attachment. */
export interface AttachmentCall extends AttachmentName {
  readonly verb: 'ADD' | 'CHECK' | 'DEL';
  /** Path of the network namespace; empty only on DEL, where the namespace may be long gone. */
  readonly netns: string;
  /** CNI_NETNS_OVERRIDE: plugging into our own network namespace is wanted. */
  readonly netnsOverride: boolean;
  readonly path: readonly string[];
  readonly args: CniArgs;
  readonly warnings: readonly string[];
}

/** Environment of a call about the whole network. */
export interface NetworkCall {
  readonly verb: 'GC' | 'STATUS';
  readonly path: readonly string[];
  readonly warnings: readonly string[];
}

/** Needs no config: VERSION, or nothing at all in CNI_COMMAND, which asks for `aboutText` on stderr. */
export type BareCall = { readonly verb: 'VERSION' } | { readonly verb: 'about' };

export type CallEnvironment = AttachmentCall | NetworkCall | BareCall;
export type AttachmentRequest = AttachmentCall & { readonly config: Config };
export type NetworkRequest = NetworkCall & { readonly config: Config };
export type ParsedCall = AttachmentRequest | NetworkRequest | BareCall;

export type Environment = Readonly<Record<string, string | undefined>>;

/** Which name the executable was called by; an IPAM plugin does not read the main plugin's keys. */
export type Role = 'tollgate' | 'tollgate-ipam';

/** Variables that each verb needs (skel's table, stricter than the specification), in the order in which they are missed. */
const required = {
  ADD: ['CNI_CONTAINERID', 'CNI_NETNS', 'CNI_IFNAME', 'CNI_PATH'],
  CHECK: ['CNI_CONTAINERID', 'CNI_NETNS', 'CNI_IFNAME', 'CNI_PATH'],
  DEL: ['CNI_CONTAINERID', 'CNI_IFNAME', 'CNI_PATH'],
  GC: ['CNI_PATH'],
  STATUS: ['CNI_PATH'],
  VERSION: [],
} as const;

export type Verb = keyof typeof required;

export const verbs = Object.keys(required) as readonly Verb[];

const isVerb = (text: string): text is Verb => Object.hasOwn(required, text);

/** First spec version in which a config may ask for the verb. */
const since: Partial<Record<Verb, CniVersion>> = { CHECK: '0.4.0', GC: '1.1.0', STATUS: '1.1.0' };

function checkContainerID(containerID: string): void {
  if (/^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/.test(containerID)) return;
  throw new CniError(
    codes.invalidEnvironment,
    'invalid characters in containerID',
    `CNI_CONTAINERID is ${JSON.stringify(containerID.slice(0, 300))}: expected a letter or digit, then letters, digits, "_", "." or "-"`,
  );
}

/** Linux's dev_valid_name, and no `%`: the kernel takes `eth%d` for a pattern and would make another name of it. */
function ifnameProblem(ifname: string): string | undefined {
  const bytes = new TextEncoder().encode(ifname);
  if (bytes.length > 15) return 'interface name is too long (at most 15 bytes)';
  if (ifname === '.' || ifname === '..') return 'interface name is . or ..';
  if (/[/:%]/.test(ifname)) return 'interface name contains / or : or %';
  // The kernel's isspace() knows single bytes only, and 0xa0 is one of them.
  if (/[\s\u0085]/.test(ifname) || bytes.includes(0xa0)) return 'interface name contains whitespace characters';
  if (printable(ifname) !== ifname) return 'interface name contains control characters';
  return undefined;
}

function checkIfname(ifname: string): void {
  const problem = ifnameProblem(ifname);
  if (problem) throw new CniError(codes.invalidEnvironment, problem, `CNI_IFNAME is ${JSON.stringify(ifname)}`);
}

/** CNI_ARGS of a DEL are read leniently: DEL only releases, and must not fail because of them. */
function argsOf(verb: AttachmentCall['verb'], text: string, warnings: string[]): CniArgs {
  try {
    return parseArgs(text);
  } catch (error) {
    if (verb !== 'DEL' || !(error instanceof CniError)) throw error;
    warnings.push(`${error.message} (ignored on DEL)`);
    return noArgs;
  }
}

/**
 * The call that the environment describes; to be made before stdin is read.
 * @throws CniError code 4: unknown verb, all missing variables at once, bad containerID, ifname or CNI_ARGS
 */
export function parseEnvironment(env: Environment): CallEnvironment {
  const verb = env['CNI_COMMAND'] ?? '';
  if (verb === '') return { verb: 'about' };
  if (!isVerb(verb)) throw new CniError(codes.invalidEnvironment, `unknown CNI_COMMAND: ${verb}`);
  const missing = required[verb].filter(name => !env[name]);
  if (missing.length > 0)
    throw new CniError(codes.invalidEnvironment, `required env variables [${missing.join(',')}] missing`);
  if (verb === 'VERSION') return { verb };
  // An empty element would mean the working directory: never where a plugin is.
  const path = (env['CNI_PATH'] ?? '').split(':').filter(folder => folder !== '');
  const warnings: string[] = [];
  if (verb === 'GC' || verb === 'STATUS') return { verb, path, warnings };
  const containerID = env['CNI_CONTAINERID'] ?? '';
  const ifname = env['CNI_IFNAME'] ?? '';
  checkContainerID(containerID);
  checkIfname(ifname);
  const args = argsOf(verb, env['CNI_ARGS'] ?? '', warnings);
  const netnsOverride = /^(true|1)$/i.test(env['CNI_NETNS_OVERRIDE'] ?? '');
  return { verb, containerID, ifname, netns: env['CNI_NETNS'] ?? '', netnsOverride, path, args, warnings };
}

function checkGate(verb: Verb, config: Config): void {
  const least = since[verb];
  if (least !== undefined && !atLeast(config.cniVersion, least))
    throw new CniError(
      codes.incompatibleVersion,
      `config version does not allow ${verb}`,
      `cniVersion is "${config.cniVersion}", ${verb} needs at least "${least}"`,
    );
}

function readConfigText(readStdin: () => string): string {
  try {
    return readStdin();
  } catch (error) {
    const said = messageOf(error);
    throw new CniError(codes.ioFailure, `Cannot read the network configuration from stdin: ${said}`, undefined, {
      cause: error,
    });
  }
}

/** Characters of all texts together, and of one. */
const MOST_KNOWN = 1 << 19;
const LONGEST_KNOWN = 1 << 16;

/** Configurations that a process which serves calls has parsed: runtimes give the same one call after call. */
export class ConfigCache {
  /** Configurations by role, verb and text, the oldest first. */
  readonly #known = new Map<string, Config>();
  #length = 0;

  /** Parses as `parseConfig` does. @throws CniError as `parseConfig` */
  readonly parse: typeof parseConfig = (text, verb, role) => {
    const key = `${role} ${verb} ${text}`;
    const found = this.#known.get(key);
    if (found) return found;
    const config = parseConfig(text, verb, role);
    if (key.length > LONGEST_KNOWN) return config;
    this.#known.set(key, config);
    this.#length += key.length;
    for (const oldest of this.#known.keys()) {
      if (this.#length <= MOST_KNOWN) break;
      this.#known.delete(oldest);
      this.#length -= oldest.length;
    }
    return config;
  };
}

/**
 * Environment first, stdin after; `readStdin` is called for the verbs that have a config, and only then.
 * @param parse `parseConfig`, or that of a cache
 * @throws CniError code 1 (version), 4 (environment), 5 (stdin unreadable), 6 (not JSON), 7 (invalid config)
 */
export function parseRequest(
  env: Environment,
  readStdin: () => string,
  role: Role = 'tollgate',
  parse: typeof parseConfig = parseConfig,
): ParsedCall {
  const call = parseEnvironment(env);
  if (call.verb === 'VERSION' || call.verb === 'about') return call;
  const config = parse(readConfigText(readStdin), call.verb, role);
  checkGate(call.verb, config);
  if (call.verb === 'CHECK' && !config.prevResult)
    throw new CniError(codes.invalidConfig, 'CHECK needs the key "prevResult": the result of the ADD to compare with');
  return { ...call, config, warnings: [...call.warnings, ...config.warnings] } as AttachmentRequest | NetworkRequest;
}

/** The version that an error about this stdin should carry: the config's where it is one of ours, else our newest. */
export function errorVersion(stdin: string | undefined): CniVersion {
  try {
    const parsed: unknown = JSON.parse(stdin ?? '');
    if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed)) return newestVersion;
    const found = Object.entries(parsed).findLast(([key]) => key.toLowerCase() === 'cniversion')?.[1];
    if (found === undefined || found === null || found === '') return impliedVersion;
    return typeof found === 'string' && isSupported(found) ? found : newestVersion;
  } catch {
    return newestVersion;
  }
}

/** The hardware address asked for: CNI_ARGS < `args.cni.mac` < `runtimeConfig.mac` (bridge's order). */
export const requestedMac = ({ args, config }: AttachmentRequest): string | undefined =>
  config.runtime.mac ?? config.argsCni.mac ?? args.mac;

/** All addresses asked for, by any of the three ways, each once (host-local's union). */
export function requestedIps({ args, config }: AttachmentRequest): readonly RequestedAddress[] {
  const all = [...args.ips, ...config.argsCni.ips, ...config.runtime.ips];
  const key = ({ family, value }: RequestedAddress) => `${family}/${value}`;
  const byKey = new Map<string, RequestedAddress>();
  for (const ip of all) if (byKey.get(key(ip))?.length === undefined) byKey.set(key(ip), ip);
  return [...byKey.values()];
}
