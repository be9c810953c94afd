/** What an attachment's record says beyond its owner and its addresses: all that DEL needs, whatever its config says then. */
import type { LocalPod } from '../enforce/node.ts';
import type { NetnsIdentity } from '../kernel/netns.ts';
import type { Facts, Json } from '../state/record.ts';

export interface PodFacts {
  /** `veth`: we made the interface; `chained`: another plugin did; `ipam`: we gave addresses only. */
  readonly kind: 'veth' | 'chained' | 'ipam';
  /** The network namespace that the node's end is in (`homeOf`): one state folder may serve several. */
  readonly home?: string;
  /** The host's end. */
  readonly link?: string;
  /** The IPAM plugin that gave the addresses, with the configuration that it was called with. */
  readonly delegate?: { readonly type: string; readonly stdin: string };
  readonly pod?: LocalPod;
}

/** A network namespace as records name it. */
export const homeOf = ({ dev, ino }: NetnsIdentity): string => `${dev}:${ino}`;

export const writeFacts = (facts: Partial<PodFacts>): Facts => facts as Facts;

const isObject = (value: Json | undefined): value is { readonly [key: string]: Json } =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const text = (value: Json | undefined): string | undefined => (typeof value === 'string' ? value : undefined);

function delegateOf(value: Json | undefined): PodFacts['delegate'] {
  const type = isObject(value) ? text(value['type']) : undefined;
  const stdin = isObject(value) ? text(value['stdin']) : undefined;
  return type !== undefined && stdin !== undefined ? { type, stdin } : undefined;
}

/** A record is ours alone to write, so its shape is checked as far as a torn or foreign one could lead us astray. */
function podOf(value: Json | undefined): LocalPod | undefined {
  if (!isObject(value)) return undefined;
  const names = ['network', 'containerID', 'ifname', 'link', 'namespace', 'name'];
  const lists = ['addresses', 'namedPorts', 'hostPorts'];
  const whole =
    names.every(key => typeof value[key] === 'string') &&
    lists.every(key => Array.isArray(value[key])) &&
    isObject(value['labels']) &&
    typeof value['tag'] === 'number';
  return whole ? (value as unknown as LocalPod) : undefined;
}

export function readFacts(facts: Facts): PodFacts {
  const kind = facts['kind'];
  const home = text(facts['home']);
  const link = text(facts['link']);
  const delegate = delegateOf(facts['delegate']);
  const pod = podOf(facts['pod']);
  return {
    kind: kind === 'chained' || kind === 'ipam' ? kind : 'veth',
    ...(home === undefined ? {} : { home }),
    ...(link === undefined ? {} : { link }),
    ...(delegate ? { delegate } : {}),
    ...(pod ? { pod } : {}),
  };
}
