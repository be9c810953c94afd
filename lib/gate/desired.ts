/** Desired state, whole (ARCHITECTURE.md, idea 2): the table that a node shall have, a pure function of what it is made from. */
import { type Address, type Family, parseAddress, parsePrefix, type Range, rangeOf } from '../ip/address.ts';
import type { Element, NamedSet, Table } from '../nft/model.ts';
import { unionOfRanges } from '../policy/compile/ranges.ts';
import type { Ruleset } from '../policy/compile/ruleset.ts';
import { gateChains } from './chains.ts';
import { hostPortElements } from './host-ports.ts';
import type { LocalPod, NodeState, Owner } from './node-state.ts';
import { masqueradesIn } from './pod-counts.ts';
import { toNft } from './ruleset-to-nft.ts';
import { gateSets } from './static-sets.ts';
import { neededBy } from './translation.ts';

const nothing: Ruleset = { sets: new Map(), chains: new Map(), tags: new Map() };

export const TABLE = 'tollgate';
export const TABLE_NAME = { family: 'inet', name: TABLE } as const;

/** The table's comment says whose it is, in a form that is read back. */
const ownerComment = ({ enforcer, stateDir, policies }: Owner): string =>
  `enforcer=${enforcer} stateDir=${stateDir} policies=${policies}`;

export function parseOwner(comment: string): Owner | undefined {
  const match = /^enforcer=(.*) stateDir=(.*) policies=(.*)$/.exec(comment);
  return match ? { enforcer: match[1]!, stateDir: match[2]!, policies: match[3]! } : undefined;
}

const ofFamily = (texts: readonly string[], family: Family): Address[] =>
  texts.flatMap(text => {
    const address = parseAddress(text);
    return address?.family === family ? [address] : [];
  });

const self = (pods: readonly LocalPod[], family: Family): Element[] =>
  pods.flatMap(pod =>
    ofFamily(pod.addresses, family).map(address => ({
      key: [address, address],
      comment: `${pod.namespace}/${pod.name}`,
    })),
  );

const own = (pods: readonly LocalPod[], family: Family): Element[] =>
  pods.flatMap(({ ifindex, addresses, namespace, name }) =>
    ifindex === undefined
      ? []
      : ofFamily(addresses, family).map(address => ({ key: [ifindex, address], comment: `${namespace}/${name}` })),
  );

function ranges(prefixes: readonly string[], family: Family): Element[] {
  const parsed = [...new Set(prefixes)].flatMap((text): Range[] => {
    const prefix = parsePrefix(text);
    return prefix?.family === family ? [rangeOf(prefix)] : [];
  });
  return unionOfRanges(parsed, family).map(range => ({ key: [range] }));
}

function elementsOf({ pods: byKey, counts, podCidrs = [] }: NodeState): Map<string, readonly Element[]> {
  const pods = Object.values(byKey);
  const masquerades = masqueradesIn(counts);
  const filled = new Map<string, readonly Element[]>();
  for (const family of [4, 6] as const) {
    filled.set(`self${family}`, self(pods, family));
    filled.set(`own${family}`, own(pods, family));
    filled.set(
      `masq${family}`,
      ranges(
        masquerades.flatMap(({ from }) => from),
        family,
      ),
    );
    filled.set(
      `nomasq${family}`,
      ranges(
        masquerades.flatMap(({ except }) => [...except, ...podCidrs]),
        family,
      ),
    );
    filled.set(`hostports${family}`, hostPortElements(pods, family, false));
    filled.set(`hostports${family}_any`, hostPortElements(pods, family, true));
  }
  return filled;
}

/**
 * @param marker the number that ties the table to the state file; both get a new one with each batch
 * @param ruleset what the policies ask for, where this node's enforcer is ours
 */
export function desiredTable(state: NodeState, markers: number | readonly number[], ruleset: Ruleset = nothing): Table {
  const { settings } = state;
  const { isOrdered = false } = ruleset;
  const compiled = toNft(ruleset, settings.nflogGroup);
  const elements = elementsOf(state);
  elements.set(
    'marker',
    [markers].flat().map(marker => ({ key: [marker] })),
  );
  const fill = (set: NamedSet): NamedSet => {
    const own = elements.get(set.name) ?? compiled.elements[set.name];
    // A set that nothing fills is the same object in two tables, which need not compare it.
    return own === undefined || own.length === 0 ? set : { ...set, elements: own };
  };
  return {
    family: 'inet',
    name: TABLE,
    comment: ownerComment(state.owner),
    chains: [...gateChains(settings, { isOrdered, ...neededBy(state) }), ...compiled.chains],
    sets: [...gateSets(settings.judge, isOrdered).map(fill), ...compiled.sets],
    counters: compiled.counters,
  };
}
