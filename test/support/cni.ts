/** CNI calls as a runtime makes them: environment and stdin in, stdout and exit code out. */
import assert from 'node:assert/strict';
import { type Exit, Host, type HostOptions, type Run } from './host.ts';
import { peerDir, policies, runDir, stateDir, tollgateDir } from './places.ts';
import { binaryOf, furnished, isAskedAgain } from './way.ts';

export { peerDir, policies, runDir, stateDir, tollgate, tollgateDir } from './places.ts';

export type Json = { readonly [key: string]: unknown };
export type Verb = 'ADD' | 'DEL' | 'CHECK' | 'GC' | 'STATUS' | 'VERSION';

export interface Attachment {
  readonly containerID: string;
  readonly ifname: string;
  /** A namespace of the host, by name. */
  readonly netns: string;
}

export interface Call extends Partial<Attachment> {
  /** Stdin: a value, or the text itself. */
  readonly config: Json | string | Uint8Array;
  /** A path, where it is not that of a namespace of the host. */
  readonly netnsPath?: string;
  readonly args?: string;
  /** Added to, or with undefined taken from, the environment. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** Name of a plugin in the folders of CNI_PATH; `tollgate` where absent. */
  readonly plugin?: string;
  readonly run?: Run;
}

export interface Outcome extends Exit {
  /** The number of repeated calls before this outcome. */
  readonly again: number;
  /** Stdout, where it is one JSON object. */
  readonly json: Json | undefined;
}

export interface Result {
  readonly cniVersion: string;
  readonly interfaces?: readonly { name: string; mac: string; sandbox?: string; mtu?: number }[];
  readonly ips?: readonly { address: string; gateway?: string; interface?: number; version?: string }[];
  readonly routes?: readonly { dst: string; gw?: string }[];
  readonly dns?: Json;
}

export function environment(verb: string | undefined, call: Omit<Call, 'config'>): Record<string, string> {
  const netns = call.netnsPath ?? (call.netns === undefined ? undefined : `/run/netns/${call.netns}`);
  const all: Record<string, string | undefined> = {
    PATH: '/usr/sbin:/usr/bin:/sbin:/bin',
    CNI_COMMAND: verb,
    CNI_CONTAINERID: call.containerID,
    CNI_NETNS: netns,
    CNI_IFNAME: call.ifname ?? (call.containerID === undefined ? undefined : 'eth0'),
    CNI_ARGS: call.args,
    CNI_PATH: `${tollgateDir}:${peerDir}`,
    ...call.env,
  };
  return Object.fromEntries(Object.entries(all).filter((entry): entry is [string, string] => entry[1] !== undefined));
}

function parse(text: string): Json | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Json) : undefined;
  } catch {
    return undefined;
  }
}

/** Calls the plugin, and again, as runtimes do, where a worker died and the outcome is unknown: an ADD after a DEL. */
export async function cni(host: Host, verb: Verb | (string & {}) | undefined, call: Call): Promise<Outcome> {
  for (let again = 0; ; again++) {
    const outcome = { ...(await callOnce(host, verb, call)), again };
    if (outcome.exit !== 1 || !isAskedAgain(host, outcome.json?.['code'])) return outcome;
    if (verb === 'ADD') await silently(host, 'DEL', { ...call, run: {} });
  }
}

async function callOnce(host: Host, verb: string | undefined, call: Call): Promise<Omit<Outcome, 'again'>> {
  const { config, plugin } = call;
  const input = typeof config === 'string' || config instanceof Uint8Array ? config : JSON.stringify(config);
  const exit = await host.run([binaryOf(host, plugin)], { ...call.run, input, env: environment(verb, call) });
  return { ...exit, json: parse(exit.stdout) };
}

const describe = (outcome: Exit) =>
  `exit ${outcome.exit} ${outcome.signal ?? ''}\nstdout: ${outcome.stdout}\nstderr: ${outcome.stderr}`;

/** The result of an ADD that must succeed. */
export async function add(host: Host, call: Call): Promise<Result> {
  const outcome = await cni(host, 'ADD', call);
  assert.equal(outcome.exit, 0, `ADD: ${describe(outcome)}`);
  assert.ok(outcome.json, `ADD: ${describe(outcome)}`);
  return outcome.json as unknown as Result;
}

/** A verb that must succeed and say nothing on stdout. */
export async function silently(host: Host, verb: 'DEL' | 'CHECK' | 'GC' | 'STATUS', call: Call): Promise<Outcome> {
  const outcome = await cni(host, verb, call);
  assert.equal(outcome.exit, 0, `${verb}: ${describe(outcome)}`);
  assert.equal(outcome.stdout, '', `${verb} says something on stdout`);
  return outcome;
}

/** The error object of a call that must fail: whole, on stdout, and nothing else there. */
export function errorOf(outcome: Outcome): { code: number; msg: string; details?: string; cniVersion: string } {
  assert.equal(outcome.exit, 1, describe(outcome));
  const { json } = outcome;
  assert.ok(json, `stdout is not one JSON object: ${describe(outcome)}`);
  const { code, msg, details, cniVersion } = json;
  assert.ok(typeof code === 'number' && Number.isInteger(code) && code > 0, `code of ${outcome.stdout}`);
  assert.ok(typeof msg === 'string' && msg !== '', `msg of ${outcome.stdout}`);
  assert.ok(typeof cniVersion === 'string', `cniVersion of ${outcome.stdout}`);
  assert.ok(details === undefined || typeof details === 'string', `details of ${outcome.stdout}`);
  assert.doesNotMatch(`${outcome.stdout}`, /\n\s+at /, 'a stack trace on stdout');
  return { code, msg, cniVersion, ...(details === undefined ? {} : { details }) };
}

/** A host with a place for the plugin's state, nothing else. */
export async function startHost(options: HostOptions = {}): Promise<Host> {
  return furnished(await Host.start({ ...options, setup: `mkdir -p ${policies}; ${options.setup ?? ''}` }));
}

export interface Ranges {
  readonly v4?: string;
  readonly v6?: string;
}

/** A configuration of tollgate with an address of each family named. */
export function config(more: Json = {}, ranges: Ranges = { v4: '10.77.0.0/24' }): Json {
  const sets = [ranges.v4, ranges.v6].filter(subnet => subnet !== undefined).map(subnet => [{ subnet }]);
  const ipam = { type: 'tollgate-ipam', ranges: sets };
  return { cniVersion: '1.1.0', name: 'net', type: 'tollgate', stateDir, runDir, policies, ipam, ...more };
}

/** The addresses of a result without their prefix lengths. */
export const addresses = (result: Result): string[] => (result.ips ?? []).map(ip => ip.address.split('/')[0]!);

/** Plugs a pod in and out once, so that what every pod shares is there before a snapshot is taken. */
export async function warm(host: Host, configuration: Json): Promise<void> {
  const call = { config: configuration, containerID: 'warm', netns: await host.pod() };
  await add(host, call);
  await silently(host, 'DEL', call);
}

export interface PluginList {
  readonly cniVersion: string;
  readonly name: string;
  readonly plugins: readonly Json[];
}

const withList = (list: PluginList, plugin: Json, prevResult: Result | undefined): Json => ({
  ...plugin,
  cniVersion: list.cniVersion,
  name: list.name,
  ...(prevResult === undefined ? {} : { prevResult }),
});

/** Calls the plugins of a list as libcni does at ADD: each gets the result of the one before it. */
export async function addList(host: Host, list: PluginList, attachment: Omit<Call, 'config'>): Promise<Result> {
  let result: Result | undefined;
  for (const plugin of list.plugins) {
    const call = { ...attachment, plugin: String(plugin['type']), config: withList(list, plugin, result) };
    result = await add(host, call);
  }
  assert.ok(result);
  return result;
}

/** CHECK in the list's order, DEL in reverse, each with the last result. */
export async function eachOfList(
  host: Host,
  verb: 'CHECK' | 'DEL',
  list: PluginList,
  attachment: Omit<Call, 'config'>,
  result: Result | undefined,
): Promise<void> {
  const plugins = verb === 'DEL' ? list.plugins.toReversed() : list.plugins;
  for (const plugin of plugins) {
    await silently(host, verb, {
      ...attachment,
      plugin: String(plugin['type']),
      config: withList(list, plugin, result),
    });
  }
}

/** The processors' worth of calls at once, each item in turn. */
export async function parallel<T, R>(items: readonly T[], width: number, work: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = [];
  let next = 0;
  const worker = async () => {
    while (next < items.length) {
      const i = next++;
      results[i] = await work(items[i]!);
    }
  };
  await Promise.all(Array.from({ length: Math.min(width, items.length) }, worker));
  return results;
}
