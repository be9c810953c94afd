import { type Address, formatAddress } from '../ip/address.ts';
import { bindingsOverlap, unmapped } from '../ip/binding.ts';
import { type Dns, runtimeDns } from './dns.ts';
import {
  address,
  type Fields,
  fields,
  integer,
  invalid,
  listOf,
  mac,
  mapOf,
  needed,
  optional,
  present,
  type Reader,
  requestedAddress,
  text,
  unlessBlank,
} from './field.ts';
import { type RangeSetSpec, rangeSets, type Take } from './ipam.ts';
import type { RequestedAddress } from './requested-address.ts';

/** @see https://github.com/containernetworking/cni/blob/main/CONVENTIONS.md */

export interface PortMapping {
  readonly hostPort: number;
  readonly containerPort: number;
  readonly protocol: 'tcp' | 'udp' | 'sctp';
  /** Absent: every address of the host. `0.0.0.0` and `::` are passed on as they are: every one of that family. */
  readonly hostIP?: Address;
}

/** `runtimeConfig`: what the runtime says of this one pod. */
export interface RuntimeConfig {
  readonly portMappings: readonly PortMapping[];
  readonly ips: readonly RequestedAddress[];
  readonly mac?: string;
  readonly dns?: Dns;
  readonly rangeSets: readonly RangeSetSpec[];
  readonly labels: ReadonlyMap<string, string>;
  /** Pod annotations (containerd, CRI-O; capability io.kubernetes.cri.pod-annotations). */
  readonly annotations: ReadonlyMap<string, string>;
}

/** `args.cni`: what a person or an orchestrator other than Kubernetes asks for. */
export interface ArgsCni {
  readonly labels: ReadonlyMap<string, string>;
  readonly ips: readonly RequestedAddress[];
  readonly mac?: string;
}

const port = integer(1, 65535);

const protocol: Reader<PortMapping['protocol']> = (value, at) => {
  const folded = typeof value === 'string' ? value.toLowerCase() : value;
  // Kubernetes' default, where a runtime leaves it out.
  if (folded === '') return 'tcp';
  if (folded === 'tcp' || folded === 'udp' || folded === 'sctp') return folded;
  throw invalid(at, value, '"tcp", "udp" or "sctp"');
};

/** Go programs take an IPv4 address for the same in either notation. */
const hostAddress: Reader<Address> = (value, at) => unmapped(address(value, at));

const portMapping: Reader<PortMapping> = (value, at) => {
  const from = fields(value, at);
  return present<PortMapping>({
    hostPort: needed(from, 'hostPort', port),
    containerPort: needed(from, 'containerPort', port),
    protocol: optional(from, 'protocol', protocol) ?? 'tcp',
    hostIP: optional(from, 'hostIP', unlessBlank(hostAddress)),
  });
};

/** The same mapping twice is one; one port of one address with two targets is refused: only one of them could answer. */
const portMappings: Reader<readonly PortMapping[]> = (value, at) => {
  const bySocket = new Map<string, PortMapping>();
  for (const mapping of listOf(portMapping)(value, at)) {
    const { hostPort, containerPort, protocol, hostIP } = mapping;
    const other = [...bySocket.values()].find(
      each =>
        each.hostPort === hostPort &&
        each.protocol === protocol &&
        each.containerPort !== containerPort &&
        bindingsOverlap(each.hostIP, hostIP),
    );
    if (other)
      throw invalid(
        `${at} hostPort ${hostPort}/${protocol}`,
        containerPort,
        `${other.containerPort}, as mapped before`,
      );
    bySocket.set(`${hostIP ? formatAddress(hostIP) : '*'} ${hostPort}/${protocol}`, mapping);
  }
  return [...bySocket.values()];
};

/** `[{key, value}]`; a later one of the same key counts. */
const labelList: Reader<ReadonlyMap<string, string>> = (value, at) =>
  new Map(
    listOf((item, where): [string, string] => {
      const from = fields(item, where);
      return [needed(from, 'key', text), optional(from, 'value', text) ?? ''];
    })(value, at),
  );

const isBlank = (value: unknown): boolean =>
  value === undefined || value === '' || (Array.isArray(value) && value.length === 0);

/**
 * A line for each thing that the runtime asks for, and that this plugin does not do: the pod is without it.
 * @param isChained another plugin made the interface, with its addresses
 */
export function unheeded({ members }: Fields, isChained: boolean): readonly string[] {
  const limiter = 'the bandwidth plugin, chained behind tollgate';
  const maker = 'the plugin that makes the interface';
  const others = { bandwidth: limiter, ...(isChained ? { ips: maker, mac: maker, ipRanges: maker } : {}) };
  return Object.entries(others)
    .filter(([key]) => !isBlank(members.get(key.toLowerCase())?.value))
    .map(([key, plugin]) => `"runtimeConfig.${key}" is ignored: give the capability "${key}" to ${plugin}`);
}

export function readRuntimeConfig(from: Fields, take: Take): RuntimeConfig {
  return present<RuntimeConfig>({
    portMappings: take(from, 'portMappings', portMappings) ?? [],
    ips: take(from, 'ips', listOf(requestedAddress)) ?? [],
    mac: take(from, 'mac', unlessBlank(mac)),
    dns: take(from, 'dns', runtimeDns),
    rangeSets: take(from, 'ipRanges', rangeSets) ?? [],
    labels: take(from, 'labels', mapOf(text)) ?? new Map(),
    annotations: take(from, 'io.kubernetes.cri.pod-annotations', mapOf(text)) ?? new Map(),
  });
}

export function readArgsCni(from: Fields, take: Take): ArgsCni {
  return present<ArgsCni>({
    labels: take(from, 'labels', labelList) ?? new Map(),
    ips: take(from, 'ips', listOf(requestedAddress)) ?? [],
    mac: take(from, 'mac', unlessBlank(mac)),
  });
}
