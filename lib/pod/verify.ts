/** The kernel and the folders held against what they should say: what differs is named, and what can be mended is. */
import type { LocalPod } from '../enforce/node.ts';
import { podKey } from '../enforce/node.ts';
import { forwarding } from '../enforce/probe.ts';
import { type Address, type Family, formatAddress, parseAddress } from '../ip/address.ts';
import { dumpAddresses, linkAddressOf } from '../kernel/address.ts';
import { type Link, setLink } from '../kernel/link.ts';
import { type Exchange, must, mustExcept } from '../kernel/message.ts';
import { addRoute } from '../kernel/route.ts';
import { findSysctl, writeSysctl } from '../kernel/sysctl.ts';
import { tryLockAttachment } from '../state/attachment.ts';
import { reclaim } from '../state/claims.ts';
import { listOrphans, listUnclaimed } from '../state/orphans.ts';
import { listNetworks, type Store } from '../state/store.ts';
import { formatAlias } from '../tag/alias.ts';
import { describeTag, formatTag } from '../tag/tag.ts';
import { readFacts } from './facts.ts';
import type { Here } from './here.ts';
import { linkRoutedTo, tagLink } from './interface.ts';
import { inventory, type PluggedIn } from './inventory.ts';
import { hostPrefix } from './plan.ts';
import { networkName, nftWords } from './sweep.ts';

export interface Difference {
  /** `table`, `namespace/pod`, an interface, or an address. */
  readonly about: string;
  readonly what: string;
  /** For differences of the table: what would mend it, as lines for `nft -f`. */
  readonly nft?: readonly string[];
  /** Of a pod's link, what `repair` cannot leave to GC's code. Absent: GC mends it, or nobody can. */
  readonly mend?: () => void;
}

/** What is compared with what. */
export interface Scene {
  readonly here: Here;
  readonly store: Store;
  /** Of this network namespace, listed before anything else. */
  readonly links: readonly Link[];
}

const aliasOf = ({ namespace, name, containerID }: LocalPod): string =>
  formatAlias({ namespace, pod: name, containerID });

function linkDifferences(about: string, link: Link, pod: LocalPod, isOwnLink: boolean, { here }: Scene): Difference[] {
  const { host } = here;
  const { ifindex, name } = link;
  const found: Difference[] = [];
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
  if (!link.up) differ(`${name} is down`, () => void must(host([setLink({ ifindex }, { up: true })])));
  if (isOwnLink) found.push(...routeDifferences(about, link, pod, here));
  return found;
}

const addressesOf = ({ addresses }: LocalPod): Address[] => addresses.flatMap(text => parseAddress(text) ?? []);

/** What ADD put on the host's end, and made the source of what the node sends its pod; a link-local one serves no route. */
function gatewayOn(host: Exchange, ifindex: number, family: Family): Address | undefined {
  const GLOBAL_SCOPE = 0;
  return must(host([dumpAddresses({ ifindex, family })]))
    .flat()
    .flatMap(reply => linkAddressOf(reply) ?? [])
    .find(address => address.ifindex === ifindex && address.scope === GLOBAL_SCOPE);
}

/** A route that leads elsewhere is somebody's doing, and stays. */
function routeDifferences(about: string, { ifindex, name }: Link, pod: LocalPod, { host }: Here): Difference[] {
  return addressesOf(pod).flatMap((address): Difference[] => {
    const oif = linkRoutedTo(host, address);
    if (oif === ifindex) return [];
    const text = formatAddress(address);
    if (oif !== undefined) return [{ about, what: `the route to ${text} leads to link ${oif}, not to ${name}` }];
    const source = gatewayOn(host, ifindex, address.family);
    const route = { destination: hostPrefix(address), oif: ifindex, ...(source ? { source } : {}) };
    const mend = () => void mustExcept(host([addRoute(route)]), 'EEXIST');
    return [{ about, what: `the route to ${text} by ${name} is missing`, mend }];
  });
}

function claimDifferences(
  about: string,
  { record, network }: PluggedIn,
  folder: string,
  { store }: Scene,
): Difference[] {
  if (!record || readFacts(record.facts).delegate) return [];
  return listUnclaimed(store, folder, record).map(text => ({
    about,
    what: `${text} is no longer reserved for it in network ${network}`,
    mend: () => {
      using attachment = tryLockAttachment(store, folder, record.path);
      if (attachment && !reclaim(attachment, parseAddress(text)!))
        throw new Error(
          `Cannot reserve ${text} for ${about} again: somebody else has it by now; delete one of the two`,
        );
    },
  }));
}

const nameOf = ({ namespace, name, containerID, link }: PluggedIn): string =>
  namespace !== undefined && name !== undefined ? `${namespace}/${name}` : (link?.name ?? containerID);

function podDifferences(found: PluggedIn, scene: Scene): Difference[] {
  const { standing, why, record, pod, link, kind, network } = found;
  const about = nameOf(found);
  if (standing === 'elsewhere' || standing === 'busy') return [];
  if (standing === 'dead' || standing === 'unrecorded') return [{ about, what: why ?? standing }];
  const claims = record?.owner ? claimDifferences(about, found, record.owner.network, scene) : [];
  if (!record || !pod || !link || kind === 'ipam') return claims;
  if (!scene.here.hook.table.peek()) return claims;
  const judged = scene.here.hook.find(podKey(pod));
  if (!judged) return [...claims, { about, what: `the node's table does not know it (network ${network})` }];
  return [...linkDifferences(about, link, judged, kind === 'veth', scene), ...claims];
}

/** ADD switched it on; a pod whose family is not forwarded reaches its node at most. */
function forwardingDifferences(pods: readonly LocalPod[]): Difference[] {
  const families = new Set(pods.flatMap(addressesOf).map(({ family }) => family));
  return [...families].flatMap((family): Difference[] => {
    const key = forwarding[family];
    const value = findSysctl(key);
    if (value === undefined || value === '1') return [];
    const what = `is ${value}: pods' packets are not forwarded`;
    return [{ about: `net/${key}`, what, mend: () => void writeSysctl(key, '1') }];
  });
}

function orphans({ store }: Scene): Difference[] {
  return listNetworks(store).flatMap(folder =>
    listOrphans(store, folder).map(address => ({
      about: address,
      what: `it is reserved in network ${networkName(store, folder)}, but nobody holds it`,
    })),
  );
}

async function tableDifferences({ here }: Scene, found: readonly PluggedIn[]): Promise<Difference[]> {
  const { table } = here.hook;
  const about = 'table inet tollgate';
  if (!table.peek()) {
    if (table.read()) return [{ about, what: "the node's state file that goes with it is missing" }];
    const isNeeded = found.some(({ pod, link, record }) => record && pod && link);
    const what = "is gone, and so is the node's state file: no pod is gated until the next ADD makes both again";
    return isNeeded ? [{ about, what }] : [];
  }
  using _ = await table.lock(60_000);
  const operations = table.drift();
  if (operations.length === 0) return [];
  const nft = await nftWords(operations);
  const what = table.read() ? `differs from what it should be` : 'is gone: no pod is gated';
  return [{ about, what, nft }];
}

/** Policies that were changed in the folder, and are not in force until somebody applies them. */
async function pendingPolicies({ here }: Scene): Promise<Difference[]> {
  const file = here.hook.table.peek();
  if (file?.state.owner.enforcer !== 'inline') return [];
  const { readFolder } = await import('../enforce/folder.ts');
  const { policies } = file.state.owner;
  const { isChanged } = await readFolder(policies, here.hook.table.readApplied());
  return isChanged ? [{ about: policies, what: 'has changed since it was applied: run `tollgate policy apply`' }] : [];
}

/** Everything that differs, as it is now. */
export async function differences(scene: Scene): Promise<readonly Difference[]> {
  const state = scene.here.hook.table.peek()?.state;
  const found = inventory(scene.links, scene.store, scene.here, state);
  const gone = Object.entries(state?.pods ?? {}).filter(
    ([key]) => !found.some(({ record, pod }) => record && pod && podKey(pod) === key),
  );
  return [
    ...(await tableDifferences(scene, found)),
    ...found.flatMap(each => podDifferences(each, scene)),
    ...gone.map(([, pod]) => ({
      about: `${pod.namespace}/${pod.name}`,
      what: 'the table knows it, but no record does',
    })),
    ...forwardingDifferences(Object.values(state?.pods ?? {})),
    ...orphans(scene),
    ...(await pendingPolicies(scene)),
  ];
}

/** Links and claims of living pods. To be called once the table is right: entry before group. @returns what was mended */
export function mendLinks(found: readonly Difference[]): {
  readonly mended: readonly Difference[];
  readonly failures: readonly unknown[];
} {
  const mended: Difference[] = [];
  const failures: unknown[] = [];
  for (const difference of found) {
    if (!difference.mend) continue;
    try {
      difference.mend();
      mended.push(difference);
    } catch (error) {
      failures.push(error);
    }
  }
  return { mended, failures };
}
