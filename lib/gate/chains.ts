/**
 * The static part of our table (ARCHITECTURE.md, idea 1): what hardly changes while pods come and go. Everything that does change
 * stands in the sets and maps that these rules look into.
 */
import type { Chain } from '../nft/model.ts';
import { fnv1a64 } from '../tag/hash.ts';
import { afterRouting } from './after-routing.ts';
import { beforeConntrack } from './before-conntrack.ts';
import type { GateSettings } from './settings.ts';
import { type NatNeeds, translation } from './translation.ts';

export interface ChainNeeds extends NatNeeds {
  /** Cluster policies judge pods of this node. */
  readonly isOrdered: boolean;
}

/** What was made for one value of settings. */
class StaticChains {
  readonly #settings: GateSettings;
  readonly #made = new Map<string, readonly Chain[]>();
  #digest: string | undefined;

  constructor(settings: GateSettings) {
    this.#settings = settings;
  }

  for(needed: ChainNeeds): readonly Chain[] {
    const key = [needed.isOrdered, needed.hostPorts, needed.masquerade].join();
    const known = this.#made.get(key);
    if (known) return known;
    const made = [
      beforeConntrack(this.#settings.judge),
      ...afterRouting(this.#settings, needed.isOrdered),
      ...translation(needed),
    ];
    this.#made.set(key, made);
    return made;
  }

  get digest(): string {
    this.#digest ??= this.#digestOf([false, true].map(isOrdered => this.for({ isOrdered, ...everything })));
    return this.#digest;
  }

  #digestOf(chains: readonly (readonly Chain[])[]): string {
    return fnv1a64(JSON.stringify(chains, (_, value) => (typeof value === 'bigint' ? String(value) : value)));
  }
}

const everything: NatNeeds = { hostPorts: true, masquerade: true };
const made = new WeakMap<GateSettings, StaticChains>();

function madeFor(settings: GateSettings): StaticChains {
  const known = made.get(settings) ?? new StaticChains(settings);
  made.set(settings, known);
  return known;
}

/** For the same settings the same value, which two tables need not compare. */
export const gateChains = (settings: GateSettings, needed: ChainNeeds): readonly Chain[] =>
  madeFor(settings).for(needed);

/** Tells these chains from those that another release of ours makes for the same settings. */
export const gateDigest = (settings: GateSettings): string => madeFor(settings).digest;
