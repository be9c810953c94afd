/** Tells the static chains of a table from those that another release makes for the same settings. */
import { gateChains } from '../gate/chains.ts';
import type { GateSettings } from '../gate/settings.ts';
import { checksum } from '../state/sealed.ts';

const all = { hostPorts: true, masquerade: true } as const;
const digests = new WeakMap<GateSettings, string>();

/** CRC-32 of the static chains in hex: a call that runs alone has no time for a hash that is worked out in JavaScript. */
export function gateDigest(settings: GateSettings): string {
  const chains = () => [false, true].map(isOrdered => gateChains(settings, { isOrdered, ...all }));
  const toText = (_: string, value: unknown): unknown => (typeof value === 'bigint' ? String(value) : value);
  const digest = digests.get(settings) ?? checksum('gate', JSON.stringify(chains(), toText));
  digests.set(settings, digest);
  return digest;
}
