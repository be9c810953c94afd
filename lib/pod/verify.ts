/** The kernel and the folders held against what they should say: what differs is named, and what can be mended is. */

import { forwarding } from '../enforce/probe.ts';
import type { LocalPod } from '../gate/node-state.ts';
import { podKey } from '../gate/node-state.ts';
import { type Address, parseAddress } from '../ip/address.ts';
import { LockTimeoutError } from '../kernel/flock.ts';
import { type Link, setLink } from '../kernel/link.ts';
import { type Exchange, must } from '../kernel/message.ts';
import { NetlinkSocket } from '../kernel/netlink.ts';
import { inNetns, Netns } from '../kernel/netns.ts';
import { findSysctl, writeSysctl } from '../kernel/sysctl.ts';
import { type Attachment, lockAttachment, readFacts as readRecord, recordPath } from '../state/attachment.ts';
import { isOrphan, listOrphans, listUnclaimed } from '../state/leftovers.ts';
import { networkName } from '../state/listed.ts';
import { listNetworks, type Store } from '../state/store.ts';
import { formatAlias } from '../tag/alias.ts';
import type { AttachmentKey } from '../tag/link-name.ts';
import { describeTag, formatTag, isOurs } from '../tag/tag.ts';
import { lostRecords, reclaimAll } from './adopt.ts';
import { type Deviation, hostEndDeviations, type Inside, podEndDeviations, type VethPair } from './ends.ts';
import { readFacts } from './facts.ts';
import type { Here } from './here.ts';
import { inventory, type PluggedIn, pluggedInNow } from './inventory.ts';
import { findLink, isThere, tagLink } from './links.ts';
import { pairOf } from './pair.ts';
import { pendingPolicies, tableDifferences } from './verify-table.ts';

export interface Mismatch {
  /** `table`, `namespace/pod`, an interface, or an address. */
  readonly about: string;
  readonly what: string;
  /** For differences of the table: the change that would mend it, as lines for `nft -f`. */
  readonly nft?: readonly string[];
  /** Mends what `repair` cannot leave to GC's code. Absent: GC mends it, or it cannot be mended. */
  readonly mend?: () => void;
}

/** The two sides that are compared. */
export interface Scene {
  readonly here: Here;
  readonly store: Store;
  /** Every link of this network namespace, listed before anything else. */
  readonly links: readonly Link[];
}

const aliasOf = ({ namespace, name, containerID }: LocalPod): string =>
  formatAlias({ namespace, pod: name, containerID });

function tagDifferences(about: string, link: Link, pod: LocalPod, { here }: Scene): Mismatch[] {
  const { host } = here;
  const { ifindex, name } = link;
  const found: Mismatch[] = [];
  const differ = (what: string, mend: () => void) => found.push({ about, what, mend });
  if (link.group !== pod.tag)
    differ(`${name} is tagged ${describeTag(link.group)}, its identity is ${formatTag(pod.tag)}`, () =>
      tagLink(host, ifindex, pod.tag),
    );
  if (link.alias !== aliasOf(pod))
    differ(
      `${name} has the alias ${JSON.stringify(link.alias ?? '')}, not ${JSON.stringify(aliasOf(pod))}`,
      () => void must(host([setLink({ ifindex }, { alias: aliasOf(pod) })])),
    );
  return found;
}

const addressesOf = ({ addresses }: LocalPod): Address[] => addresses.flatMap(text => parseAddress(text) ?? []);

/** How the host end differs. A link that another plugin made must be up, and nothing else is known of it. */
function hostEndDifferences(link: Link, pod: LocalPod, pair: VethPair | undefined, { here }: Scene): Deviation[] {
  if (pair) return hostEndDeviations(here.host, link, pair);
  const mend = () => void must(here.host([setLink({ ifindex: link.ifindex }, { up: true })]));
  return link.up ? [] : [{ what: `${pod.link} is down`, mend }];
}

/**
 * How the pod's end differs, where its namespace can be seen from here: a command may run in another mount namespace than the
 * runtime.
 */
function podEndDifferences(path: string | undefined, link: Link, ifname: string, pair: VethPair): Deviation[] {
  const inPod: Exchange = requests => {
    using netns = Netns.open(path!);
    using socket = inNetns(netns, () => NetlinkSocket.open('route'));
    return socket.exchange(requests);
  };
  let found: Link | undefined;
  try {
    if (path === undefined) return [];
    found = findLink(inPod, { name: ifname });
  } catch {
    return [];
  }
  const inside: Inside = work => {
    using netns = Netns.open(path);
    inNetns(netns, work);
  };
  if (found?.peer === link.ifindex) return podEndDeviations(inPod, inside, found, pair);
  return [{ what: `${ifname} of ${path} is not the other end of ${link.name}` }];
}

/** @param attachment its record, locked; to look alone it takes none */
function claimDifferences(
  about: string,
  { record, network }: PluggedIn,
  attachment: Attachment | undefined,
  { store }: Scene,
): Mismatch[] {
  if (!record?.owner || readFacts(record.facts).delegate) return [];
  return listUnclaimed(store, record.owner.network, record).map(text => ({
    about,
    what: `${text} is no longer reserved for it in network ${network}`,
    mend: () => {
      if (attachment) reclaimAll(attachment, [text], about);
    },
  }));
}

const nameOf = ({ namespace, name, containerID, link }: PluggedIn): string =>
  namespace !== undefined && name !== undefined ? `${namespace}/${name}` : (link?.name ?? containerID);

function podDifferences(found: PluggedIn, scene: Scene, attachment?: Attachment): Mismatch[] {
  const { standing, why, record, pod, link, kind, network } = found;
  const about = nameOf(found);
  if (standing === 'elsewhere' || standing === 'busy') return [];
  if (standing === 'dead' || standing === 'unrecorded') return [{ about, what: why ?? standing }];
  const claims = claimDifferences(about, found, attachment, scene);
  if (!record || !pod || !link || kind === 'ipam') return claims;
  if (!scene.here.hook.table.store.read()) return claims;
  const judged = scene.here.hook.find(podKey(pod));
  if (!judged) return [...claims, { about, what: `the node's table does not know it (network ${network})` }];
  const pair = kind === 'veth' ? pairOf(judged, readFacts(record.facts)) : undefined;
  const deviations = [
    ...hostEndDifferences(link, judged, pair, scene),
    ...(pair ? podEndDifferences(record.facts.netns, link, judged.ifname, pair) : []),
  ];
  const ends = deviations.map(deviation => ({ about, ...deviation }));
  return [...tagDifferences(about, link, judged, scene), ...ends, ...claims];
}

/** Milliseconds: a call that holds a pod for longer is at work on it, and what differs is not to be judged now. */
const LOCK_TIMEOUT_MS = 5_000;

/** Receives the differences of one pod, while no call is under way for it. */
type Heed = (differences: readonly Mismatch[]) => void;

/**
 * Looks at a pod again that seemed to differ, with its lock and the node's held: links were listed before the state was
 * read, and pods come, go and change their tags meanwhile.
 */
async function lookAgain(found: PluggedIn, scene: Scene, heed: Heed): Promise<void> {
  const { record } = found;
  if (!record) return heed(unrecordedStill(found, scene) ? podDifferences(found, scene) : []);
  if (!record.owner) return;
  if (record.isLost) return heed(podDifferences(found, scene));
  using attachment = await lockedWithin(scene.store, record.owner);
  if (!attachment) return;
  const { table } = scene.here.hook;
  using _ = await table.store.lock(60_000);
  const listed = { path: attachment.path, owner: record.owner, facts: attachment.facts };
  for (const now of pluggedInNow(record.owner.network, listed, scene.here))
    heed(podDifferences(now, scene, attachment));
}

/** Undefined where it has gone, or a call holds it. */
async function lockedWithin(store: Store, owner: AttachmentKey): Promise<Attachment | undefined> {
  try {
    return (await lockAttachment(store, owner, { timeoutMs: LOCK_TIMEOUT_MS }))?.attachment;
  } catch (error) {
    if (error instanceof LockTimeoutError) return undefined;
    throw error;
  }
}

/** A DEL deletes the link before the record: where the link still is there, the record was gone before. */
function unrecordedStill({ link, pod }: PluggedIn, { here, store }: Scene): boolean {
  const now = link && findLink(here.host, { ifindex: link.ifindex });
  if (!isThere(now) || !isOurs(now.group)) return false;
  return !pod || lostRecords(store, pod.network, here).some(lost => podKey(lost) === podKey(pod));
}

/** Whether forwarding is still on, which ADD switched on: a pod whose family is not forwarded reaches its node at most. */
function forwardingDifferences(pods: readonly LocalPod[]): Mismatch[] {
  const families = new Set(pods.flatMap(addressesOf).map(({ family }) => family));
  return [...families].flatMap((family): Mismatch[] => {
    const key = forwarding[family];
    const value = findSysctl(key);
    if (value === undefined || value === '1') return [];
    const what = `is ${value}: pods' packets are not forwarded`;
    return [{ about: `net/${key}`, what, mend: () => void writeSysctl(key, '1') }];
  });
}

function orphans({ store }: Scene): Mismatch[] {
  return listNetworks(store).flatMap(folder =>
    listOrphans(store, folder)
      .filter(address => isOrphan(store, folder, address))
      .map(address => ({
        about: address,
        what: `it is reserved in network ${networkName(store, folder)}, but no attachment holds it`,
      })),
  );
}

/** A pod leaves the table before its record goes, so one that the table still knows afterwards had none. */
function unknownToRecords({ here, store }: Scene, found: readonly PluggedIn[]): Mismatch[] {
  const isKnown = new Set(found.flatMap(({ pod }) => (pod ? [podKey(pod)] : [])));
  return here.hook.pods().flatMap((pod): Mismatch[] => {
    const isRecorded = () => readRecord(recordPath(store, pod)) !== undefined;
    if (isKnown.has(podKey(pod)) || isRecorded() || !here.hook.find(podKey(pod)) || isRecorded()) return [];
    return [{ about: `${pod.namespace}/${pod.name}`, what: 'the table knows it, but no record does' }];
  });
}

async function examine(scene: Scene, heed: Heed): Promise<void> {
  const state = scene.here.hook.table.store.read()?.state;
  const found = inventory(scene.links, scene.store, scene.here, state);
  heed(await tableDifferences(scene, found));
  for (const each of found) if (podDifferences(each, scene).length > 0) await lookAgain(each, scene, heed);
  heed(unknownToRecords(scene, found));
  heed(forwardingDifferences(Object.values(state?.pods ?? {})));
  heed(orphans(scene));
  heed(await pendingPolicies(scene));
}

/** Everything that differs, and still does when it is looked at again with the pod's lock held. */
export async function differences(scene: Scene): Promise<readonly Mismatch[]> {
  const all: Mismatch[] = [];
  await examine(scene, found => void all.push(...found));
  return all;
}

export interface MendedLinks {
  readonly mended: readonly Mismatch[];
  readonly failures: readonly unknown[];
}

/** Links and claims of living pods, each with its lock held. To be called once the table is right: entry before group. */
export async function mendLinks(scene: Scene): Promise<MendedLinks> {
  const mended: Mismatch[] = [];
  const failures: unknown[] = [];
  await examine(scene, found => {
    for (const difference of found) {
      if (!difference.mend) continue;
      try {
        difference.mend();
        mended.push(difference);
      } catch (error) {
        failures.push(error);
      }
    }
  });
  return { mended, failures };
}
