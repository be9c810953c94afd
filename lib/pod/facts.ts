/**
 * The facts in an attachment's record beside its owner and addresses: all that DEL needs, whatever its configuration says then.
 */

import type { FoundNode } from '../enforce/found.ts';
import type { LocalPod } from '../gate/node-state.ts';
import type { NetnsIdentity } from '../kernel/netns.ts';
import { isOwner, isRecordedPod, isSettings } from '../nodestore/shapes.ts';
import type { Facts, Json } from '../state/record.ts';
import { isCount, isText, listOf, objectOf } from '../state/shape.ts';

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
  /** Whose the node is by the pod's ADD, and the settings of its gate. */
  readonly node?: FoundNode;
  /** The record was lost and written again, and does not say who gave the addresses. */
  readonly isAdopted?: true;
  /** MAC, MTU, gateways and routes that ADD gave to the pair, where we made it. */
  readonly made?: MadeFacts;
}

/** `Made` of ends.ts, as JSON: addresses and prefixes are texts. */
export interface MadeFacts {
  readonly podMac: string;
  readonly mtu: number;
  readonly gateways: readonly string[];
  readonly routes: readonly {
    readonly destination: string;
    readonly gateway: string;
    readonly [metric: string]: Json;
  }[];
}

/** A network namespace as records name it. */
export const homeOf = ({ dev, ino }: NetnsIdentity): string => `${dev}:${ino}`;

export const writeFacts = (facts: Partial<PodFacts>): Facts => facts as Facts;

const text = (value: Json | undefined): string | undefined => (isText(value) ? value : undefined);

const isDelegate = objectOf<NonNullable<PodFacts['delegate']>>({ type: isText, stdin: isText });

const isFoundNode = objectOf<FoundNode>({ owner: isOwner, settings: isSettings });

const isRoute = objectOf<MadeFacts['routes'][number]>({ destination: isText, gateway: isText });
const isMade = objectOf<MadeFacts>({
  podMac: isText,
  mtu: isCount,
  gateways: listOf(isText),
  routes: listOf(isRoute),
});

export function readFacts(facts: Facts): PodFacts {
  const kind = facts['kind'];
  const home = text(facts['home']);
  const link = text(facts['link']);
  const delegate: unknown = facts['delegate'];
  const pod: unknown = facts['pod'];
  const node: unknown = facts['node'];
  const made: unknown = facts['made'];
  return {
    kind: kind === 'chained' || kind === 'ipam' ? kind : 'veth',
    ...(home === undefined ? {} : { home }),
    ...(link === undefined ? {} : { link }),
    ...(isDelegate(delegate) ? { delegate } : {}),
    ...(isRecordedPod(pod) ? { pod } : {}),
    ...(isFoundNode(node) ? { node } : {}),
    ...(facts['isAdopted'] === true ? { isAdopted: true } : {}),
    ...(isMade(made) ? { made } : {}),
  };
}
