/**
 * The record of one attachment, as JSON lines: the first names the attachment, each later one adds facts or replaces them.
 * Records are only appended to, so a process that dies while writing leaves a torn last line and everything before it.
 */
import { parseAddress } from '../ip/address.ts';

export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };

/** `adding` without a lock: an ADD died. */
export type Phase = 'adding' | 'ready';

/** Facts that more than one room reads; others are kept under any name that their room likes. */
export interface Facts {
  readonly network?: string;
  readonly containerID?: string;
  readonly ifname?: string;
  readonly phase?: Phase;
  /** Path, as the runtime gave it. */
  readonly netns?: string;
  /** Canonical text without length, in the order of the pools. */
  readonly addresses?: readonly string[];
  readonly [fact: string]: Json | undefined;
}

/** A newline on both sides: one torn line can never spoil the next. */
export const recordLine = (facts: Facts): string => `\n${JSON.stringify(facts)}\n`;

/** All lines folded into one, later facts winning; lines that are no JSON object count for nothing. */
export function foldRecord(text: string): Facts {
  const folded: Record<string, Json> = Object.create(null);
  for (const line of text.split('\n')) Object.assign(folded, parseLine(line));
  return checked(folded);
}

function parseLine(line: string): Readonly<Record<string, Json>> | undefined {
  if (!line.startsWith('{')) return undefined;
  try {
    return JSON.parse(line) as Readonly<Record<string, Json>>;
  } catch {
    return undefined;
  }
}

const phases: readonly Json[] = ['adding', 'ready'] satisfies readonly Phase[];

/** Drops known facts that are not of their type: a record that was tampered with must not lead to other files. */
function checked({ network, containerID, ifname, phase, netns, addresses, ...others }: Record<string, Json>): Facts {
  const isText = (value: Json | undefined): value is string => typeof value === 'string';
  return {
    ...others,
    ...(isText(network) && { network }),
    ...(isText(containerID) && { containerID }),
    ...(isText(ifname) && { ifname }),
    ...(phases.includes(phase ?? null) && { phase: phase as Phase }),
    ...(isText(netns) && { netns }),
    ...(Array.isArray(addresses) && { addresses: addresses.filter(text => isText(text) && parseAddress(text)) }),
  };
}
