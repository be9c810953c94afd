import { type Address, formatAddress, formatPrefix, type Prefix } from '../ip/address.ts';
import { type Dns, dns } from './dns.ts';
import { CniError, codes } from './error.ts';
import {
  address,
  type Fields,
  fields,
  integer,
  type JsonObject,
  listOf,
  needed,
  optional,
  prefix,
  present,
  type Reader,
  text,
  unlessBlank,
} from './field.ts';
import { atLeast, type CniVersion, parseVersion } from './version.ts';

/** The result of ADD, in the shape of the newest spec version; every older one is read into it and printed from it. */
export interface Result {
  readonly interfaces: readonly Interface[];
  readonly ips: readonly Ip[];
  readonly routes: readonly ResultRoute[];
  readonly dns?: Dns;
}

export interface Interface {
  readonly name: string;
  readonly mac?: string;
  /** Path of the network namespace; absent on the host's side. */
  readonly sandbox?: string;
  readonly mtu?: number;
  readonly socketPath?: string;
  readonly pciID?: string;
}

export interface Ip {
  /** The address with its host bits. */
  readonly address: Prefix;
  readonly gateway?: Address;
  /** Index into `interfaces`. */
  readonly interface?: number;
}

export interface ResultRoute {
  readonly dst: Prefix;
  /** Absent: the first gateway of the family. */
  readonly gw?: Address;
  readonly mtu?: number;
  readonly advmss?: number;
  readonly priority?: number;
  readonly table?: number;
  /** RT_SCOPE_*: 0 universe, 253 link. */
  readonly scope?: number;
}

const u32 = integer(0, 0xffffffff);

const iface: Reader<Interface> = (value, at) => {
  const from = fields(value, at);
  return present<Interface>({
    name: needed(from, 'name', text),
    mac: optional(from, 'mac', unlessBlank(text)),
    sandbox: optional(from, 'sandbox', unlessBlank(text)),
    mtu: optional(from, 'mtu', u32),
    socketPath: optional(from, 'socketPath', unlessBlank(text)),
    pciID: optional(from, 'pciID', unlessBlank(text)),
  });
};

const ip: Reader<Ip> = (value, at) => {
  const from = fields(value, at);
  return present<Ip>({
    address: needed(from, 'address', prefix),
    gateway: optional(from, 'gateway', unlessBlank(address)),
    interface: optional(from, 'interface', integer(0, 0x7fffffff)),
  });
};

/** A route as it stands in results and in IPAM configs. */
export const route: Reader<ResultRoute> = (value, at) => {
  const from = fields(value, at);
  return present<ResultRoute>({
    dst: needed(from, 'dst', prefix),
    gw: optional(from, 'gw', unlessBlank(address)),
    mtu: optional(from, 'mtu', u32),
    advmss: optional(from, 'advmss', u32),
    priority: optional(from, 'priority', u32),
    table: optional(from, 'table', u32),
    scope: optional(from, 'scope', integer(0, 255)),
  });
};

/** The first route by a gateway of the other address family, which a pod's interface cannot have; undefined where none is. */
export const mixedRoute = (routes: readonly ResultRoute[]): Required<Pick<ResultRoute, 'dst' | 'gw'>> | undefined =>
  routes.flatMap(({ dst, gw }) => (gw && gw.family !== dst.family ? [{ dst, gw }] : []))[0];

/** 0.1.0 and 0.2.0: one object for each family, with the routes of that family inside. */
function readByFamily(from: Fields): Pick<Result, 'interfaces' | 'ips' | 'routes'> {
  const ips: Ip[] = [];
  const routes: ResultRoute[] = [];
  for (const key of ['ip4', 'ip6']) {
    const one = optional(from, key, fields);
    if (!one) continue;
    ips.push(
      present<Ip>({
        address: needed(one, 'ip', prefix),
        gateway: optional(one, 'gateway', unlessBlank(address)),
      }),
    );
    routes.push(...(optional(one, 'routes', listOf(route)) ?? []));
  }
  return { interfaces: [], ips, routes };
}

const readByList = (from: Fields): Pick<Result, 'interfaces' | 'ips' | 'routes'> => ({
  interfaces: optional(from, 'interfaces', listOf(iface)) ?? [],
  ips: optional(from, 'ips', listOf(ip)) ?? [],
  routes: optional(from, 'routes', listOf(route)) ?? [],
});

/** A result and the version that it says it has; without one, `implied`: that of the config it came with. */
export function readResult(
  value: unknown,
  at: string,
  implied: CniVersion,
): { readonly version: CniVersion; readonly result: Result } {
  const from = fields(value, at);
  const said = optional(from, 'cniVersion', unlessBlank(text));
  const version = said === undefined ? implied : parseVersion(said);
  const shape = atLeast(version, '0.3.0') ? readByList(from) : readByFamily(from);
  return { version, result: present<Result>({ ...shape, dns: optional(from, 'dns', dns) }) };
}

const unlessEmpty = <T>(list: readonly T[]): readonly T[] | undefined => (list.length > 0 ? list : undefined);

function printRoute({ dst, gw, ...newer }: ResultRoute, version: CniVersion): JsonObject {
  const base = { dst: formatPrefix(dst), gw: gw && formatAddress(gw) };
  return present<JsonObject>(atLeast(version, '1.1.0') ? { ...base, ...newer } : base);
}

function printIp({ address: own, gateway, interface: index }: Ip, version: CniVersion): JsonObject {
  return present<JsonObject>({
    version: atLeast(version, '1.0.0') ? undefined : `${own.family}`,
    interface: index,
    address: formatPrefix(own),
    gateway: gateway && formatAddress(gateway),
  });
}

const printInterface = ({ name, mac, sandbox, ...newer }: Interface, version: CniVersion): JsonObject =>
  present<JsonObject>({ name, mac, sandbox, ...(atLeast(version, '1.1.0') ? newer : {}) });

/** First address of each family, and the routes of the families that have one. */
function printByFamily(result: Result, version: CniVersion): JsonObject {
  const one = (family: 4 | 6) => {
    const first = result.ips.find(found => found.address.family === family);
    if (!first) return undefined;
    const routes = result.routes.filter(({ dst }) => dst.family === family).map(found => printRoute(found, version));
    return present<JsonObject>({
      ip: formatPrefix(first.address),
      gateway: first.gateway && formatAddress(first.gateway),
      routes: unlessEmpty(routes),
    });
  };
  if (result.ips.length === 0)
    throw new CniError(
      codes.incompatibleVersion,
      `Cannot express a result without any address in CNI ${version}`,
      'set cniVersion to "0.3.0" or newer, or give the network an ipam section',
    );
  return { ip4: one(4), ip6: one(6) };
}

/**
 * The result as the JSON value of that version: what the version does not know is left out, empty lists too.
 * @throws CniError code 1 where 0.1.0 or 0.2.0 is asked for a result without addresses
 */
export function printResult(result: Result, version: CniVersion): JsonObject {
  const shape = atLeast(version, '0.3.0')
    ? {
        interfaces: unlessEmpty(result.interfaces.map(found => printInterface(found, version))),
        ips: unlessEmpty(result.ips.map(found => printIp(found, version))),
        routes: unlessEmpty(result.routes.map(found => printRoute(found, version))),
      }
    : printByFamily(result, version);
  const isSaid = result.dns !== undefined && Object.values(result.dns).some(value => value.length > 0);
  return present<JsonObject>({ cniVersion: version, ...shape, dns: isSaid ? printDns(result.dns) : undefined });
}

/** Empty members are left out. */
const printDns = (said: Dns | undefined): JsonObject =>
  Object.fromEntries(Object.entries(said ?? {}).filter(([, value]) => value.length > 0));
