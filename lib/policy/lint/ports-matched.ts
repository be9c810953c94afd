/** The ports of a rule as one value, which can be compared with another's at the cost of both together. */

import { unionOfSpans } from '../compile/ranges.ts';
import type { PortSpan } from '../compile/ruleset.ts';
import { isNumbered, type PolicyRule, type Protocol } from '../model/model.ts';

export interface PortsMatched {
  /** One text for rules that match the same ports. */
  readonly text: string;
  readonly isAny: boolean;
  /** Disjoint, not touching, ascending. */
  readonly spans: ReadonlyMap<Protocol, readonly PortSpan[]>;
  /** `TCP/http` */
  readonly names: ReadonlySet<string>;
}

export function portsMatched({ ports }: Pick<PolicyRule, 'ports'>): PortsMatched {
  if (ports === 'any') return { text: 'any', isAny: true, spans: new Map(), names: new Set() };
  const names = new Set(ports.flatMap(port => (isNumbered(port) ? [] : [`${port.protocol}/${port.name}`])));
  const numbered = Map.groupBy(ports.filter(isNumbered), ({ protocol }) => protocol);
  const spans = new Map([...numbered].map(([protocol, own]) => [protocol, unionOfSpans(own)]));
  return { text: JSON.stringify([[...spans].sort(), [...names].sort()]), isAny: false, spans, names };
}

const isNothing = ({ isAny, spans, names }: PortsMatched): boolean => !isAny && spans.size + names.size === 0;

/** Whether the spans have a port in common; both lists are ascending and disjoint. */
function spansMeet(a: readonly PortSpan[], b: readonly PortSpan[]): boolean {
  for (let i = 0, j = 0; i < a.length && j < b.length; ) {
    if (a[i]!.last < b[j]!.first) i++;
    else if (b[j]!.last < a[i]!.first) j++;
    else return true;
  }
  return false;
}

/** Whether some port is in both. A name and a number are taken for different ports. */
export function sharePorts(a: PortsMatched, b: PortsMatched): boolean {
  if (isNothing(a) || isNothing(b)) return false;
  if (a.isAny || b.isAny) return true;
  const meet = [...a.spans].some(([protocol, spans]) => spansMeet(spans, b.spans.get(protocol) ?? []));
  return meet || [...a.names].some(name => b.names.has(name));
}

/** Whether `wider` holds all ports of `narrower`; both lists are ascending and disjoint. */
function spansCover(wider: readonly PortSpan[], narrower: readonly PortSpan[]): boolean {
  let i = 0;
  return narrower.every(({ first, last }) => {
    while (i < wider.length && wider[i]!.last < last) i++;
    return i < wider.length && wider[i]!.first <= first;
  });
}

const isWhole = (spans: readonly PortSpan[] = []): boolean => spans[0]?.first === 0 && spans[0].last === 65535;

/** Whether each port of `narrower` is a port of `wider`, whichever number a name has. */
export function coverPorts(wider: PortsMatched, narrower: PortsMatched): boolean {
  if (wider.isAny) return true;
  if (narrower.isAny) return false;
  const isNamed = (name: string): boolean =>
    wider.names.has(name) || isWhole(wider.spans.get(name.slice(0, name.indexOf('/')) as Protocol));
  const coverSpans = [...narrower.spans].every(([protocol, spans]) =>
    spansCover(wider.spans.get(protocol) ?? [], spans),
  );
  return coverSpans && [...narrower.names].every(isNamed);
}
