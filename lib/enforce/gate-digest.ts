/** Tells a table from one that another release makes of the same: by its static chains, and by the form of policies' rules. */
import { gateChains } from '../gate/chains.ts';
import type { GateSettings } from '../gate/settings.ts';
import { rulesFormat } from '../nodestore/rules-file.ts';
import { checksum } from '../state/sealed.ts';

const all = { hostPorts: true, masquerade: true } as const;
const digests = new WeakMap<GateSettings, string>();

/** CRC-32 of both in hex: a call that runs alone has no time for a hash that is worked out in JavaScript. */
export function gateDigest(settings: GateSettings): string {
  const chains = () => [rulesFormat, [false, true].map(isOrdered => gateChains(settings, { isOrdered, ...all }))];
  const toText = (_: string, value: unknown): unknown => (typeof value === 'bigint' ? String(value) : value);
  const digest = digests.get(settings) ?? checksum('gate', JSON.stringify(chains(), toText));
  digests.set(settings, digest);
  return digest;
}
