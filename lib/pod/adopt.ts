/**
 * Running pods whose records were lost with the state folder, or some of it: the node's record still knows them, and so does
 * the kernel, so their records are written again.
 */

import { CniError, codes } from '../cni/error.ts';
import type { LocalPod } from '../gate/node-state.ts';
import { podKey } from '../gate/node-state.ts';
import { parseAddress } from '../ip/address.ts';
import type { Link } from '../kernel/link.ts';
import { type Attachment, lockAttachment, recordPath, restoreRecord } from '../state/attachment.ts';
import { release } from '../state/claims.ts';
import { reclaim } from '../state/leftovers.ts';
import { listAttachments } from '../state/listed.ts';
import type { Store } from '../state/store.ts';
import type { AttachmentKey } from '../tag/link-name.ts';
import { condemned } from '../tag/tag.ts';
import type { Context } from './context.ts';
import { homeOf, readFacts, writeFacts } from './facts.ts';
import { hostEnd, isMadeFor, isPodGone, lookUpIn } from './own-link.ts';

export interface Adopted extends AttachmentKey {
  /** `namespace/name` */
  readonly pod: string;
  readonly addresses: readonly string[];
}

export const adoptedOf = ({ network, containerID, ifname, namespace, name, addresses }: LocalPod): Adopted => ({
  ...{ network, containerID, ifname },
  ...{ pod: `${namespace}/${name}`, addresses },
});

/** Milliseconds to wait for the record's lock: no call holds one that is not there. */
const LOCK_TIMEOUT_MS = 1000;

/** The pod's host end; undefined where a DEL has condemned it, or where the pod's network namespace is gone. */
function livingEnd(pod: LocalPod, { host }: Pick<Context, 'host'>) {
  const link = hostEnd(lookUpIn(host), pod);
  return link && link.group !== condemned && !isPodGone(host, link) ? link : undefined;
}

/** Pods of the network that are judged and run, and of which no record speaks. */
export function lostRecords(
  store: Store,
  network: string,
  context: Pick<Context, 'hook' | 'host'>,
): readonly LocalPod[] {
  const judged = context.hook.pods().filter(pod => pod.network === network);
  // Records of a node are in its own state folder, whatever a configuration that was edited since says.
  if (judged.length === 0 || context.hook.owner()?.stateDir !== store.stateDir) return [];
  const recorded = new Set(listAttachments(store, network).flatMap(({ path, isLost }) => (isLost ? [] : [path])));
  return judged.filter(pod => !recorded.has(recordPath(store, pod)) && livingEnd(pod, context));
}

/**
 * The record, locked. Where a claim of the pod is left, it is the old one: each claim is the record by another name. Else a
 * new one says what the node's state and the kernel know.
 */
async function recordFor(store: Store, pod: LocalPod, link: Link, context: Context): Promise<Attachment | undefined> {
  const { network, containerID, ifname, addresses } = pod;
  const owner = { network, containerID, ifname };
  const isRestored = restoreRecord(store, owner, addresses);
  const kind = isMadeFor(owner, link) ? 'veth' : 'chained';
  const facts = writeFacts({ kind, home: homeOf(context.here), link: link.name, pod, isAdopted: true });
  const create = isRestored ? undefined : ({ phase: 'ready', addresses, ...facts } as const);
  const locked = await lockAttachment(store, owner, { timeoutMs: LOCK_TIMEOUT_MS, create });
  if (!locked || isRestored || locked.fresh) return locked?.attachment;
  // A call has begun for it meanwhile.
  locked.attachment[Symbol.dispose]();
  return undefined;
}

/** @throws CniError code 100 that names the addresses which are another's by now; the record is written all the same */
async function adoptOne(store: Store, pod: LocalPod, context: Context): Promise<Adopted | undefined> {
  const link = livingEnd(pod, context);
  if (!link) return undefined;
  using attachment = await recordFor(store, pod, link, context);
  if (!attachment) return undefined;
  const { kind, delegate } = readFacts(attachment.facts);
  // Its DEL may have come and gone meanwhile, and found no record to wait for.
  if (!context.hook.find(podKey(pod)) || !livingEnd(pod, context)) {
    release(attachment);
    attachment.remove();
    return undefined;
  }
  const adopted = adoptedOf(pod);
  if (kind === 'veth' && !delegate) reclaimAll(attachment, pod.addresses, adopted.pod);
  return adopted;
}

/** @throws CniError code 100 with the addresses that another attachment has by now */
export function reclaimAll(attachment: Attachment, addresses: readonly string[], pod: string): void {
  const lost = addresses.filter(text => !reclaim(attachment, parseAddress(text)!));
  if (lost.length > 0)
    throw new CniError(
      codes.poolExhausted,
      `Cannot reserve ${lost.join(', ')} for ${pod} again: taken by another pod`,
      'delete one of the two',
    );
}

/** Goes on after a failure, and gives all of them. */
export async function adopt(
  store: Store,
  network: string,
  context: Context,
): Promise<{ readonly adopted: readonly Adopted[]; readonly failures: readonly unknown[] }> {
  const adopted: Adopted[] = [];
  const failures: unknown[] = [];
  for (const pod of lostRecords(store, network, context)) {
    try {
      const found = await adoptOne(store, pod, context);
      if (found) adopted.push(found);
    } catch (error) {
      failures.push(error);
    }
  }
  return { adopted, failures };
}
