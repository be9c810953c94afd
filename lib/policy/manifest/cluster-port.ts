/** Ports of cluster policies' rules in the spelling of each version; undefined, and reported, where one cannot be told. */
import { type NumberedPort, type Port, type Protocol, protocols } from '../model/model.ts';
import { isPortName } from '../model/name-syntax.ts';
import { oneOf } from './cluster-peer.ts';
import { complain, type Field, holdsOnly, isAbsent, isMapping, isNo, member, shown, warn } from './field.ts';
import { isPortNumber } from './network-policy.ts';

/** A name says nothing of the protocol: it is the one that the container's port has. */
function named(field: Field, instead: string): readonly Port[] | undefined {
  const { value } = field;
  if (typeof value === 'string' && isPortName(value)) return protocols.map(protocol => ({ protocol, name: value }));
  return complain(field, `${isNo(value, 'port name')}, so ${instead}: at most 15 of a-z, 0-9 and "-"`);
}

function numberOf(field: Field, instead: string): number | undefined {
  if (isPortNumber(field.value)) return field.value;
  return complain(field, `${isNo(field.value, 'port')}, so ${instead}: write a number from 1 to 65535`);
}

/** @param least by how much the end must be beyond the start */
function rangeOf(field: Field, protocol: Protocol, least: number, instead: string): NumberedPort | undefined {
  const [first, last] = [numberOf(member(field, 'start'), instead), numberOf(member(field, 'end'), instead)];
  if (first === undefined || last === undefined) return undefined;
  if (last - first >= least) return { protocol, first, last };
  const hint = first === last ? 'for one port write its number' : 'the end must come after the start';
  return complain(field, `${first} to ${last} is no range, so ${instead}: ${hint}`);
}

const everyPort = { first: 1, last: 65535 } as const;

/** Reads the ports under `tcp`, `udp` or `sctp`. */
function transport(field: Field, protocol: Protocol, instead: string): readonly Port[] | undefined {
  if (isMapping(field.value) && 'port' in field.value)
    return complain(member(field, 'port'), `An old spelling, so ${instead}: write destinationPort: {number: 80}`);
  if (!holdsOnly(field, ['destinationPort'], instead)) return undefined;
  const port = member(field, 'destinationPort');
  if (isAbsent(port)) {
    warn(field, 'Every port, which the API refuses so: write destinationPort: {range: {start: 1, end: 65535}}');
    return [{ protocol, ...everyPort }];
  }
  const found = oneOf(port, ['number', 'range'], instead);
  if (found?.key === 'number') {
    const number = numberOf(found.at, instead);
    return number === undefined ? undefined : [{ protocol, first: number, last: number }];
  }
  if (!found || !holdsOnly(found.at, ['start', 'end'], instead)) return undefined;
  const range = rangeOf(found.at, protocol, 1, instead);
  return range && [range];
}

const transports = { tcp: 'TCP', udp: 'UDP', sctp: 'SCTP' } as const;

/** An entry of `protocols` in v1alpha2. */
export function protocolsOf(field: Field, instead: string): readonly Port[] | undefined {
  if (isMapping(field.value) && 'namedPort' in field.value)
    return complain(member(field, 'namedPort'), `An old spelling, so ${instead}: write destinationNamedPort`);
  const found = oneOf(field, ['tcp', 'udp', 'sctp', 'destinationNamedPort'], instead);
  if (!found) return undefined;
  return found.key === 'destinationNamedPort'
    ? named(found.at, instead)
    : transport(found.at, transports[found.key], instead);
}

function protocolOf(field: Field, instead: string): Protocol | undefined {
  if (isAbsent(field)) return 'TCP';
  const protocol = protocols.find(known => known === field.value);
  return protocol ?? complain(field, `${shown(field.value)} is no protocol, so ${instead}: write TCP, UDP or SCTP`);
}

/** An entry of `ports` in v1alpha1. */
export function portsOf(field: Field, instead: string): readonly Port[] | undefined {
  const found = oneOf(field, ['portNumber', 'portRange', 'namedPort'], instead);
  if (!found) return undefined;
  const { key, at } = found;
  if (key === 'namedPort') return named(at, instead);
  const keys = key === 'portNumber' ? ['protocol', 'port'] : ['protocol', 'start', 'end'];
  const protocol = holdsOnly(at, keys, instead) ? protocolOf(member(at, 'protocol'), instead) : undefined;
  if (!protocol) return undefined;
  if (key === 'portRange') {
    const range = rangeOf(at, protocol, 0, instead);
    return range && [range];
  }
  const number = numberOf(member(at, 'port'), instead);
  return number === undefined ? undefined : [{ protocol, first: number, last: number }];
}
