/**
 * The static part of our table (ARCHITECTURE.md, idea 1): what hardly changes while pods come and go. Everything that does change
 * stands in the sets and maps that these rules look into.
 */
import type { Chain } from '../nft/model.ts';
import { afterRouting } from './after-routing.ts';
import { beforeConntrack } from './before-conntrack.ts';
import type { GateSettings } from './settings.ts';
import { type NatNeeds, translation } from './translation.ts';

export interface ChainNeeds extends NatNeeds {
  /** Cluster policies judge pods of this node. */
  readonly isOrdered: boolean;
}

const made = new WeakMap<GateSettings, Map<string, readonly Chain[]>>();

/** For the same settings the same value, which two tables need not compare. */
export function gateChains(settings: GateSettings, needed: ChainNeeds): readonly Chain[] {
  const known = made.get(settings) ?? new Map<string, readonly Chain[]>();
  made.set(settings, known);
  const key = [needed.isOrdered, needed.hostPorts, needed.masquerade].join();
  const chains = known.get(key) ?? [
    beforeConntrack(settings.judge),
    ...afterRouting(settings, needed.isOrdered),
    ...translation(needed),
  ];
  known.set(key, chains);
  return chains;
}
