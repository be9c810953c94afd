/** Pods that may go out, but cannot ask where to. */
import { isNumbered, type NetworkPolicy, type Port, type Protocol } from '../model/model.ts';
import type { Check } from './rule.ts';
import type { Companions, Surroundings } from './surroundings.ts';

const asked = ['UDP', 'TCP'] as const satisfies readonly Protocol[];

/** By the name of a container port: the protocols in which some pod has 53 under it. */
type KnownNames = ReadonlyMap<string, ReadonlySet<string>>;

function namesIn({ pods }: Surroundings): KnownNames {
  const names = new Map<string, Set<string>>();
  for (const { namedPorts } of pods)
    for (const { name, protocol, port } of namedPorts) {
      const found = names.get(name) ?? new Set();
      names.set(name, found);
      if (port === 53) found.add(protocol);
    }
  return names;
}

/** A named port counts as 53 where some pod has that name for 53, or where no known pod has it and the name says `dns`. */
function isDns(port: Port, protocol: Protocol, names: KnownNames): boolean {
  if (port.protocol !== protocol) return false;
  if (isNumbered(port)) return port.first <= 53 && 53 <= port.last;
  return names.get(port.name)?.has(protocol) ?? port.name.includes('dns');
}

/** The protocols in which the policy lets its pods ask for names. */
const allowedBy = ({ egress = [] }: NetworkPolicy, names: KnownNames): ReadonlySet<Protocol> =>
  new Set(
    asked.filter(protocol =>
      egress.some(
        ({ peers, ports }) =>
          peers.length !== 0 && (ports === 'any' || ports.some(port => isDns(port, protocol, names))),
      ),
    ),
  );

function message(missing: readonly Protocol[]): string {
  const what = missing.map(protocol => `${protocol} 53`).join(' and ');
  const follows = missing.includes('UDP')
    ? 'names cannot be looked up'
    : 'answers that are too long for one datagram cannot be had';
  const ports = missing.map(protocol => `{ protocol: ${protocol}, port: 53 }`).join(', ');
  return `No egress rule of its pods allows ${what}, so ${follows}: add a rule with ports: [${ports}]`;
}

/** The check of one world. */
export function dnsCutOff(around: Surroundings): Check {
  const names = namesIn(around);
  const byPolicy = new Map<NetworkPolicy, ReadonlySet<Protocol>>();
  const byCompanions = new Map<Companions, ReadonlySet<Protocol>>();
  const allows = (policy: NetworkPolicy): ReadonlySet<Protocol> => {
    const known = byPolicy.get(policy) ?? allowedBy(policy, names);
    byPolicy.set(policy, known);
    return known;
  };
  const allowTogether = (companions: Companions): ReadonlySet<Protocol> => {
    const known = byCompanions.get(companions) ?? new Set(companions.flatMap(policy => [...allows(policy)]));
    byCompanions.set(companions, known);
    return known;
  };
  return ({ policy, report }) => {
    // A policy without any egress rule that allows something means to let its pods send nothing, names included.
    if (!policy.egress?.some(({ peers, ports }) => peers.length !== 0 && ports.length !== 0)) return;
    const kinds = [...around.companionsOf(policy)];
    const missing = asked.filter(protocol => kinds.some(companions => !allowTogether(companions).has(protocol)));
    if (missing.length > 0) report('spec.egress', message(missing));
  };
}
