/** The attachments of this node, by their records, by the kernel's links, and by both together. */
import { type LocalPod, type NodeState, podKey } from '../gate/node-state.ts';
import type { Link } from '../kernel/link.ts';
import { holding } from '../kernel/lock-holder.ts';
import { statIfThere, tryLockAttachment } from '../state/attachment.ts';
import { type Listed, listAttachments } from '../state/listed.ts';
import type { Facts } from '../state/record.ts';
import { listNetworks, type Store } from '../state/store.ts';
import { parseAlias } from '../tag/alias.ts';
import { type AttachmentKey, hostInterfaceName, isHostInterfaceName } from '../tag/link-name.ts';
import { condemned, isOurs, quarantine } from '../tag/tag.ts';
import type { Context } from './context.ts';
import { deathOf } from './death.ts';
import { homeOf, type PodFacts, readFacts } from './facts.ts';
import { findLink, isThere } from './links.ts';
import { hostEnd, type LookUp, lookUpIn, namedEnd } from './own-link.ts';

/**
 * `plugged`: it carries its tag. `quarantined`, `condemned`: closed. `untagged`: its tag was taken off. `dead`: for GC to
 * undo. `busy`: a call for it is under way. `elsewhere`: of another network namespace. `addresses`: given for another
 * plugin's interface. `unrecorded`: a link of ours that no record knows; with a pod, the node's state does.
 */
export type LinkStanding =
  | 'plugged'
  | 'quarantined'
  | 'condemned'
  | 'untagged'
  | 'dead'
  | 'busy'
  | 'elsewhere'
  | 'addresses'
  | 'unrecorded';

export interface PluggedIn {
  readonly standing: LinkStanding;
  /** The reason of a standing other than `plugged`, for a person. */
  readonly why?: string;
  readonly network?: string;
  readonly containerID: string;
  readonly ifname?: string;
  readonly namespace?: string;
  readonly name?: string;
  readonly kind?: PodFacts['kind'];
  /** The pod as it is judged now; absent where it is not judged. */
  readonly pod?: LocalPod;
  readonly link?: Link;
  readonly addresses: readonly string[];
  readonly netns?: string;
  readonly record?: Listed;
}

const closed: Readonly<Record<number, LinkStanding>> = { [quarantine]: 'quarantined', [condemned]: 'condemned' };

function standingOf(link: Link): LinkStanding {
  return closed[link.group] ?? (isOurs(link.group) ? 'plugged' : 'untagged');
}

type Place = Pick<Context, 'host' | 'here'>;

function judgeRecord(
  listed: Listed,
  link: Link | undefined,
  { place }: Known,
): { readonly standing: LinkStanding; readonly why?: string } {
  const { kind, home } = readFacts(listed.facts);
  if (home !== undefined && home !== homeOf(place.here))
    return { standing: 'elsewhere', why: 'plugged in in another network namespace' };
  if (listed.isLost) return { standing: 'dead', why: 'something else is in the place of its record' };
  const death = deathOf(listed, place);
  if (death !== undefined) return { standing: 'dead', why: death };
  if (kind === 'ipam') return { standing: 'addresses', why: 'its interface is another plugin’s' };
  return { standing: link ? standingOf(link) : 'untagged' };
}

/** The facts that a record is compared with. */
interface Known {
  readonly place: Place;
  readonly lookUp: LookUp;
  /** The pod of this key, as it is judged now. */
  readonly judged: (key: string) => LocalPod | undefined;
}

/** The link of an attachment whose ADD is halfway, or died there; garbage in the record's place says nothing of a link. */
function endWithoutPod(lookUp: LookUp, owner: AttachmentKey, facts: Facts): Link | undefined {
  if (facts.phase === undefined) return undefined;
  return namedEnd(lookUp, owner.containerID, [readFacts(facts).link ?? hostInterfaceName(owner)]);
}

function pluggedIn(network: string, listed: Listed, known: Known): PluggedIn[] {
  const { owner, facts } = listed;
  if (!owner) return [];
  const { judged, lookUp } = known;
  const { pod: recorded, kind } = readFacts(facts);
  // Labels may have changed since ADD wrote its record; the node's state goes with the table.
  const pod = (recorded && judged(podKey(recorded))) ?? recorded;
  const link = pod ? hostEnd(lookUp, pod) : endWithoutPod(lookUp, owner, facts);
  const named = pod ? { namespace: pod.namespace, name: pod.name, pod } : {};
  return [
    {
      ...judgeRecord(listed, link, known),
      ...owner,
      ...named,
      network: facts.network ?? network,
      kind,
      addresses: facts.addresses ?? pod?.addresses ?? [],
      record: listed,
      ...(link ? { link } : {}),
      ...(facts.netns === undefined ? {} : { netns: facts.netns }),
    },
  ];
}

/** The attachment by its record, the kernel and the node's state as they are now; to be called with its lock held. */
export const pluggedInNow = (network: string, listed: Listed, here: Place & Pick<Context, 'hook'>): PluggedIn[] =>
  pluggedIn(network, listed, {
    place: here,
    lookUp: lookUpIn(here.host),
    judged: key => here.hook.find(key),
  });

/** Standings that hold without the record's lock. */
const lasting: readonly LinkStanding[] = ['plugged', 'elsewhere', 'addresses'];

/**
 * The attachment by its record, which was read without its lock, after the links were listed. Unless it is plugged in by these,
 * a call may be under way, or may have ended since: it is judged again with its lock held.
 */
function standingNow(network: string, listed: Listed, known: Known, store: Store): PluggedIn[] {
  const found = pluggedIn(network, listed, known);
  if (listed.isLost || found.every(({ standing }) => lasting.includes(standing))) return found;
  using held = tryLockAttachment(store, network, listed.path);
  if (held)
    return pluggedIn(network, { ...listed, facts: held.facts }, { ...known, lookUp: lookUpIn(known.place.host) });
  if (!statIfThere(listed.path)) return [];
  return found.map(each => ({ ...each, standing: 'busy', why: `a call for it is under way; ${holding(listed.path)}` }));
}

/** Whether the link has a tag of ours, and our name or our alias; otherwise it is another program's. */
export const isOwnLink = ({ name, alias }: Pick<Link, 'name' | 'alias'>): boolean =>
  alias === undefined || alias === '' ? isHostInterfaceName(name) : parseAlias(alias) !== undefined;

/** @param pod as the node's state knows it, where it does */
function unrecorded(link: Link, pod: LocalPod | undefined): PluggedIn {
  if (pod) {
    const { network, containerID, ifname, namespace, name, addresses } = pod;
    const why = 'its record in the state folder is lost; `tollgate gc` writes it again';
    return { standing: 'unrecorded', why, network, containerID, ifname, namespace, name, addresses, pod, link };
  }
  const { namespace, pod: name, shortID } = parseAlias(link.alias ?? '') ?? {};
  return {
    standing: 'unrecorded',
    why: `neither a record nor the node's state knows its link ${link.name}; \`tollgate gc --force\` deletes it`,
    containerID: shortID ?? '',
    addresses: [],
    link,
    ...(namespace === undefined || name === undefined ? {} : { namespace, name }),
  };
}

/** Whether the link is of our making: one that another plugin made is not ours to delete, whatever its tag. */
export const isOurMaking = ({ kind, name }: Link): boolean => kind === 'veth' && isHostInterfaceName(name);

/** A link that another plugin made, after our DEL: that plugin's DEL is next, and deletes it. */
const isLeft = (link: Link): boolean => link.group === condemned && !isOurMaking(link);

/**
 * Links must be listed first: ADD writes the record first and DEL removes it last, so a link without one that is still there
 * after the records has no call.
 * @param all links of this network namespace, tagged or not
 */
export function inventory(
  all: readonly Link[],
  store: Store,
  place: Place,
  state: NodeState | undefined,
): readonly PluggedIn[] {
  const byName = new Map(all.map(link => [link.name, link]));
  const byIndex = new Map(all.map(link => [link.ifindex, link]));
  const lookUp: LookUp = key => ('ifindex' in key ? byIndex.get(key.ifindex) : byName.get(key.name));
  const known: Known = { place, lookUp, judged: key => state?.pods[key] };
  const recorded = listNetworks(store).flatMap(network =>
    listAttachments(store, network).flatMap(listed => standingNow(network, listed, known, store)),
  );
  const theirs = new Set(recorded.flatMap(({ link }) => link?.ifindex ?? []));
  const others = all.flatMap(({ ifindex, group }) => {
    const link = isOurs(group) && !theirs.has(ifindex) ? findLink(place.host, { ifindex }) : undefined;
    return isThere(link) && isOurs(link.group) && isOwnLink(link) && !isLeft(link) ? [link] : [];
  });
  const judged = new Map<number, LocalPod>();
  if (others.length > 0)
    for (const pod of Object.values(state?.pods ?? {})) {
      const link = hostEnd(lookUp, pod);
      if (link) judged.set(link.ifindex, pod);
    }
  return [...recorded, ...others.map(link => unrecorded(link, judged.get(link.ifindex)))];
}
