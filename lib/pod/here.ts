import type { NodeSettings } from '../cni/own-keys.ts';
import type { Environment } from '../cni/request.ts';
import type { TableMemory } from '../enforce/footing.ts';
import { InlineHook } from '../enforce/inline.ts';
import type { InlineOptions } from '../enforce/inline-options.ts';
import type { PodChanges } from '../enforce/pod-change.ts';
import type { Owner } from '../gate/node-state.ts';
import { formatAddress } from '../ip/address.ts';
import { dumpAddresses, linkAddressOf } from '../kernel/address.ts';
import { InlineChannel } from '../kernel/channel.ts';
import { Conntrack } from '../kernel/conntrack.ts';
import { isGroupCarried } from '../kernel/link.ts';
import { type Exchange, must } from '../kernel/message.ts';
import { NetlinkSocket } from '../kernel/netlink.ts';
import { currentNetns, type NetnsIdentity } from '../kernel/netns.ts';
import { Nft } from '../kernel/nft.ts';
import type { SocketPool } from '../kernel/socket-pool.ts';
import { DiskNodeStore } from '../nodestore/disk-store.ts';
import type { NodeStore } from '../nodestore/node-store.ts';
import { isIdentity } from '../tag/tag.ts';
import type { Context } from './context.ts';
import { dispatchInline, dispatchInThreadPool } from './dispatch.ts';
import { deletingReaper, type LinkReaper } from './link-reaper.ts';
import { allLinks, tagLink } from './links.ts';
import { hostEnd, isTagged, lookUpIn } from './own-link.ts';
import { recordedPods, recoverPods } from './pod-records.ts';

/** Canonical texts of the addresses of all the node's links. */
export function localAddresses(host: Exchange): Set<string> {
  const found = must(host([dumpAddresses()]))
    .flat()
    .map(linkAddressOf);
  return new Set(found.flatMap(address => (address ? [formatAddress(address)] : [])));
}

type NodeFacts = InlineOptions['node'] & {
  /** Keys of pods whose ADD is under way, or died halfway. */
  readonly unfinished: (owner: Owner) => Set<string>;
};

/** Facts of the node that its table needs: from the kernel, and from records. */
export const nodeFacts = (host: Exchange, here: NetnsIdentity): NodeFacts => ({
  recover: ({ stateDir }) => recoverPods(stateDir, host, here),
  recorded: ({ stateDir }) => recordedPods(stateDir, here),
  unfinished: ({ stateDir }) => recordedPods(stateDir, here, ({ phase }) => phase !== 'ready'),
  localAddresses: () => localAddresses(host),
  isCarried: tag => isGroupCarried(host, tag),
  isAnyTagged: () => allLinks(host).some(isTagged),
  retag: pod => {
    const found = hostEnd(lookUpIn(host), pod);
    if (found && isIdentity(found.group)) tagLink(host, found.ifindex, pod.tag);
  },
});

export interface Here extends Context, Disposable {
  readonly hook: InlineHook;
}

/** The sockets that a warm process keeps open for all of its calls: exchanges on one socket follow each other. */
export interface Warm {
  readonly here: NetnsIdentity;
  readonly runDir: string;
  /** The store of that folder, which remembers what it read and wrote. */
  readonly store: NodeStore;
  readonly memory: TableMemory;
  readonly changes: PodChanges;
  readonly route: NetlinkSocket;
  /** rtnetlink sockets for threads of the pool: for requests that wait for rtnl, the kernel's lock. */
  readonly routePool: SocketPool;
  readonly nft: Nft;
  readonly conntrack: Conntrack;
  readonly reaper: LinkReaper;
  /** Whether calls are under way beside the one that asks. */
  readonly others: () => boolean;
  /** Told of tables that were mended; see `InlineOptions`. */
  readonly mended: (operations: number) => void;
}

/** Opens the sockets of one call; to dispose it closes them. */
function openCold(): Pick<Context, 'here' | 'host' | 'dispatch' | 'nft' | 'conntrack' | 'closeNft' | 'reaper'> &
  Disposable {
  const route = NetlinkSocket.open('route');
  const { exchange: host } = route;
  const netfilter = new InlineChannel(() => NetlinkSocket.open('netfilter'));
  const conntrack = new Conntrack(netfilter);
  let nft: Nft | undefined;
  const closeNft = (): void => {
    netfilter[Symbol.dispose]();
    nft?.[Symbol.dispose]();
    nft = undefined;
  };
  return {
    ...{
      here: currentNetns(),
      host,
      dispatch: dispatchInline(host),
      closeNft,
      conntrack,
      reaper: deletingReaper(host),
    },
    nft: () => {
      nft ??= Nft.open();
      return nft;
    },
    [Symbol.dispose]() {
      closeNft();
      route[Symbol.dispose]();
    },
  };
}

const openWarm = ({ here, route, routePool, nft, conntrack, reaper, others }: Warm): ReturnType<typeof openCold> => ({
  ...{
    here,
    host: route.exchange,
    dispatch: dispatchInThreadPool(route.exchange, routePool.exchange, others),
    nft: () => nft,
    conntrack,
    reaper,
  },
  [Symbol.dispose]() {},
});

export function openHere(
  settings: NodeSettings,
  env: Environment,
  log: (line: string) => void,
  signal?: AbortSignal,
  warm?: Warm,
): Here {
  const place = warm ? openWarm(warm) : openCold();
  const { here, host, nft, conntrack } = place;
  const { mended } = warm ?? {};
  const store = warm && settings.runDir === warm.runDir ? warm.store : new DiskNodeStore(settings.runDir, here);
  const { memory, changes }: Partial<Warm> = warm && store === warm.store ? warm : {};
  const hook = new InlineHook({
    config: settings,
    store,
    memory,
    changes,
    log,
    signal,
    nft,
    conntrack,
    mended,
    node: nodeFacts(host, here),
  });
  return { ...place, env, hook, log, ...(signal ? { signal } : {}) };
}
