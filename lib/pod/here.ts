/** This process's own place to carry out a call in: its network namespace, its sockets, its stderr. */
import type { Config } from '../cni/config.ts';
import type { AttachmentRequest, Environment, NetworkRequest } from '../cni/request.ts';
import { InlineHook } from '../enforce/inline.ts';
import type { LocalPod } from '../enforce/node.ts';
import { podKey } from '../enforce/node.ts';
import type { Exchange } from '../kernel/message.ts';
import { NetlinkSocket } from '../kernel/netlink.ts';
import { currentNetns } from '../kernel/netns.ts';
import { listNetworks, openStore } from '../state/store.ts';
import { listAttachments } from '../state/sweep.ts';
import type { Context } from './context.ts';
import { readFacts } from './facts.ts';
import { findLink, taggedLinks } from './interface.ts';

/** Pods by `podKey` that the records speak of and whose host end is in this network namespace, with its tag. */
export function recoverPods({ stateDir }: Pick<Config, 'stateDir'>, host: Exchange): Record<string, LocalPod> {
  const store = openStore(stateDir);
  const pods = listNetworks(store).flatMap(network =>
    listAttachments(store, network).flatMap(({ facts }) => readFacts(facts).pod ?? []),
  );
  const alive = pods.filter(pod => pod.tag !== 0 && findLink(host, { name: pod.link })?.group === pod.tag);
  return Object.fromEntries(alive.map(pod => [podKey(pod), pod]));
}

export function openHere(
  { config }: AttachmentRequest | NetworkRequest,
  env: Environment,
  log: (line: string) => void,
): Context & Disposable {
  const here = currentNetns();
  const socket = NetlinkSocket.open('route');
  const host = socket.exchange;
  const hook = new InlineHook({
    config,
    here,
    log,
    recover: () => recoverPods(config, host),
    carried: () => new Set(taggedLinks(host).map(link => link.group)),
  });
  return {
    env,
    here,
    host,
    hook,
    log,
    [Symbol.dispose]() {
      hook[Symbol.dispose]();
      socket[Symbol.dispose]();
    },
  };
}
