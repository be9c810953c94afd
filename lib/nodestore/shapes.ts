/** Shapes that the node's files must have to be believed. */

import { LAST_MARKER, MARKERS, markersBetween } from '../gate/marker.ts';
import type { HostPort, LocalPod, NodeState, Owner } from '../gate/node-state.ts';
import type { GateSettings } from '../gate/settings.ts';
import { parseAddress, parsePrefix } from '../ip/address.ts';
import { parseJson } from '../state/atomic.ts';
import {
  either,
  isCount,
  isFlag,
  isText,
  isTrue,
  listOf,
  mapOf,
  objectOf,
  oneOf,
  optional,
  type Shape,
  such,
  within,
} from '../state/shape.ts';
import { isIdentityKey, type NamedPort } from '../tag/identity.ts';
import { firstIdentity, lastIdentity } from '../tag/tag.ts';
import type { NodeHead } from './disk-store.ts';
import type { Extent } from './pod-journal.ts';

const isMarker = within(1, LAST_MARKER);
const isTag = within(firstIdentity, lastIdentity);
/** Before it is judged. */
const NO_TAG = 0;
const isPort = within(1, 65535);
const isAddress = such(isText, text => parseAddress(text) !== undefined);
const isPrefix = such(isText, text => parsePrefix(text) !== undefined);

const isNamedPort = objectOf<NamedPort>({ name: isText, port: isPort, protocol: isText });
const isHostPort = objectOf<HostPort>({
  hostPort: isPort,
  containerPort: isPort,
  protocol: oneOf('tcp', 'udp', 'sctp'),
  hostIP: optional(isAddress),
});

const isMasquerade = objectOf<NonNullable<LocalPod['masquerade']>>({
  from: listOf(isPrefix),
  except: listOf(isPrefix),
});

const pod = {
  network: isText,
  containerID: isText,
  ifname: isText,
  link: isText,
  ifindex: optional(within(1, 0x7fffffff)),
  namespace: isText,
  name: isText,
  uid: optional(isText),
  labels: mapOf(isText),
  given: objectOf<LocalPod['given']>({ config: mapOf(isText), call: mapOf(isText) }),
  namedPorts: listOf(isNamedPort),
  addresses: listOf(isAddress),
  masquerade: optional(isMasquerade),
  hostPorts: listOf(isHostPort),
};

/** True for a pod of a node's state, in which every pod is judged. */
export const isJudgedPod = objectOf<LocalPod>({ ...pod, tag: isTag });
/** True for a pod of an attachment's record, which is written before its pod is judged. */
export const isRecordedPod = objectOf<LocalPod>({ ...pod, tag: (value: unknown) => value === NO_TAG || isTag(value) });

export const isOwner = objectOf<Owner>({ enforcer: isText, stateDir: isText, policies: isText });

export const isSettings = objectOf<GateSettings>({
  judge: oneOf('inline', 'agent', 'exec', 'none'),
  nflogGroup: within(0, 0xffff),
  enforceEgressToNode: isFlag,
});

/** Two identities of one number would have each other's permissions. */
const isTags = such(mapOf(isTag), tags => {
  const identities = Object.keys(tags);
  return new Set(Object.values(tags)).size === identities.length && identities.every(isIdentityKey);
});

const isState = objectOf<Omit<NodeState, 'pods' | 'counts'>>({
  owner: isOwner,
  settings: isSettings,
  tags: isTags,
  next: within(firstIdentity, lastIdentity + 1),
  refused: optional(listOf(isText)),
  leaving: optional(listOf(isJudgedPod)),
  podCidrs: optional(listOf(isPrefix)),
  uncut: optional(either(isTrue, oneOf('everywhere'))),
});

const isExtent = objectOf<Extent>({ id: such(isText, id => id !== ''), bytes: isCount, lines: isCount });
/** The JSON of a way of masquerading. */
function isWay(text: string): boolean {
  const found = parseJson(text);
  return found.kind === 'value' && isMasquerade(found.value);
}

const isCounts = objectOf<NodeHead['counts']>({
  pods: isCount,
  tags: mapOf(isCount),
  ways: such(mapOf(isCount), ways => Object.keys(ways).every(isWay)),
  mapped: optional(isCount),
});

export const isNodeHead: Shape<NodeHead> = such(
  objectOf<NodeHead>({
    marker: isMarker,
    since: optional(isMarker),
    folder: isText,
    index: optional(isMarker),
    generation: optional(within(1, 0xffffffff)),
    gate: optional(isText),
    judging: optional(isMarker),
    resized: optional(mapOf(within(Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER))),
    moment: optional(listOf(isCount)),
    state: isState,
    roster: isExtent,
    counts: isCounts,
  }),
  ({ marker, since = marker }) => markersBetween(since, marker) < MARKERS,
);
