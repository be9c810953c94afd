import { type Address, formatAddress, type Prefix } from '../ip/address.ts';
import { CniError, codes } from './error.ts';
import {
  absolutePath,
  address,
  type Fields,
  fields,
  invalid,
  type JsonObject,
  listOf,
  needed,
  object,
  optional,
  prefix,
  present,
  type Reader,
  text,
  unlessBlank,
} from './field.ts';
import { mixedRoute, type ResultRoute, route } from './result.ts';

/** The `ipam.type` that we serve ourselves, and the name under which the executable is an IPAM plugin for others. */
export const builtinIpam = 'tollgate-ipam';

/** One range as it was written; whether it makes sense (network address, inside, no overlap) is for lib/ipam to say. */
export interface RangeSpec {
  readonly subnet: Prefix;
  readonly rangeStart?: Address;
  readonly rangeEnd?: Address;
  readonly gateway?: Address;
}

/** A pool that gives one address: alternatives, all of one family. */
export type RangeSetSpec = readonly RangeSpec[];

export interface Ipam {
  readonly type: string;
  /** The section as it came, for a delegate and for its own reading. */
  readonly raw: JsonObject;
  /** Our own reading of host-local's keys; all empty where `type` is another plugin. */
  readonly rangeSets: readonly RangeSetSpec[];
  readonly routes: readonly ResultRoute[];
  readonly resolvConf?: string;
  readonly dataDir?: string;
}

const rangeOf = (from: Fields): RangeSpec =>
  present<RangeSpec>({
    subnet: needed(from, 'subnet', prefix),
    rangeStart: optional(from, 'rangeStart', unlessBlank(address)),
    rangeEnd: optional(from, 'rangeEnd', unlessBlank(address)),
    gateway: optional(from, 'gateway', unlessBlank(address)),
  });

const range: Reader<RangeSpec> = (value, at) => rangeOf(fields(value, at));

/**
 * `[[{subnet}]]`: each inner list a set. Or `[{Subnet}]`, as containerd sends it: there the brackets got lost, and the
 * ranges of one family are taken as alternatives, so the pod has one address of each family that is named.
 */
export const rangeSets: Reader<readonly RangeSetSpec[]> = (value, at) => {
  const sets: RangeSetSpec[] = [];
  const bare: RangeSpec[] = [];
  listOf((item, where) => {
    if (Array.isArray(item)) sets.push(listOf(range)(item, where));
    else bare.push(range(item, where));
  })(value, at);
  const byFamily = ([4, 6] as const).map(family => bare.filter(({ subnet }) => subnet.family === family));
  return [...sets, ...byFamily].filter(set => set.length > 0);
};

/** `"node"`, as if no ranges were named: the agent knows this node's. */
const namedRanges: Reader<readonly RangeSetSpec[]> = (value, at) => (value === 'node' ? [] : rangeSets(value, at));

const ownRoute: Reader<ResultRoute> = (value, at) => {
  const read = route(value, at);
  const mixed = mixedRoute([read]);
  if (mixed) throw invalid(`${at}.gw`, formatAddress(mixed.gw), `an IPv${read.dst.family} address, as "dst" is one`);
  return read;
};

export type Take = <T>(from: Fields, key: string, reader: Reader<T>) => T | undefined;

/** Top-level keys of the section that are ours to know; others get a second look for misspelling. */
export const ipamKeys = [
  'type',
  'subnet',
  'rangeStart',
  'rangeEnd',
  'gateway',
  'ranges',
  'routes',
  'resolvConf',
  'dataDir',
] as const;

/**
 * The `ipam` section; an empty one is none. A delegate's keys are left to the delegate.
 * @throws CniError code 7 where the section has content but no `type`
 */
export function readIpam(value: unknown, at: string, take: Take): Ipam | undefined {
  const raw = object(value, at);
  const from = fields(raw, at);
  if (from.members.size === 0) return undefined;
  const type = optional(from, 'type', unlessBlank(text));
  if (type === undefined)
    throw new CniError(codes.invalidConfig, `Missing key "ipam.type": expected "${builtinIpam}" or an IPAM plugin`);
  if (type !== builtinIpam) return { type, raw, rangeSets: [], routes: [] };
  const oldStyle = from.members.has('subnet') ? take(from, 'subnet', () => rangeOf(from)) : undefined;
  return present<Ipam>({
    type,
    raw,
    rangeSets: [...(oldStyle ? [[oldStyle]] : []), ...(take(from, 'ranges', namedRanges) ?? [])],
    routes: take(from, 'routes', listOf(ownRoute)) ?? [],
    resolvConf: take(from, 'resolvConf', unlessBlank(absolutePath)),
    dataDir: take(from, 'dataDir', unlessBlank(absolutePath)),
  });
}
