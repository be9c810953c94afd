/** The same executable by the name of `tollgate-ipam`: addresses for bridge, macvlan or any other main plugin. */
import { attachmentsToKeep } from '../cni/config.ts';
import { CniError, codes } from '../cni/error.ts';
import type { AttachmentRequest, NetworkRequest } from '../cni/request.ts';
import type { Result } from '../cni/result.ts';
import { formatAddress } from '../ip/address.ts';
import type { Attachment } from '../state/attachment.ts';
import { lockAttachment, tryLockAttachment } from '../state/attachment.ts';
import { holds, release, usage } from '../state/claims.ts';
import { collectNameless, collectOrphans } from '../state/leftovers.ts';
import { listAttachments } from '../state/listed.ts';
import { openStore } from '../state/store.ts';
import { attachmentTimeoutMs } from './context.ts';
import { writeFacts } from './facts.ts';
import { checkedPlanOf, type Reserver, reserveBuiltin } from './ipam.ts';

/** A network of this name may have tollgate itself as its main plugin elsewhere, and those records are not ours. */
const keyOf = ({ config, containerID, ifname }: AttachmentRequest) => ({
  network: `${config.name}@ipam`,
  containerID,
  ifname,
});

const storeOf = ({ config }: AttachmentRequest | NetworkRequest) => openStore(config.ipam?.dataDir ?? config.stateDir);

async function lock(request: AttachmentRequest, verb: 'ADD' | 'DEL' | 'CHECK'): Promise<Attachment | undefined> {
  const create = verb === 'ADD' ? ({ phase: 'adding', ...writeFacts({ kind: 'ipam' }) } as const) : undefined;
  const timeoutMs = attachmentTimeoutMs[verb];
  const locked = await lockAttachment(storeOf(request), keyOf(request), { timeoutMs, create });
  return locked?.attachment;
}

export async function ipamAdd(request: AttachmentRequest, reserver: Reserver): Promise<Result> {
  using attachment = (await lock(request, 'ADD'))!;
  // An address that a killed ADD had reserved was never given to a pod.
  if (attachment.facts.phase !== 'ready') release(attachment);
  const isOurs = attachment.claimCount === 0;
  try {
    const result = await reserveBuiltin(request, attachment, reserver);
    attachment.append({ phase: 'ready' });
    return result;
  } catch (error) {
    if (isOurs) {
      release(attachment);
      attachment.remove();
    }
    throw error;
  }
}

export async function ipamDel(request: AttachmentRequest): Promise<void> {
  using attachment = await lock(request, 'DEL');
  if (!attachment) return;
  release(attachment);
  attachment.remove();
}

/** @throws CniError code 104 */
export async function ipamCheck(request: AttachmentRequest): Promise<void> {
  using attachment = await lock(request, 'CHECK');
  const given = request.config.prevResult?.ips ?? [];
  const known = new Set(attachment?.facts.addresses);
  const ours = given.filter(({ address }) => known.has(formatAddress(address)));
  const isWhole = attachment && ours.length === known.size && ours.every(({ address }) => holds(attachment, address));
  if (isWhole && known.size > 0) return;
  throw new CniError(
    codes.checkMismatch,
    `Cannot vouch for the addresses of ${request.containerID} ${request.ifname}: ${[...known].join(', ') || 'none'} reserved, the result says ${given.map(({ address }) => formatAddress(address)).join(', ') || 'none'}`,
  );
}

export function ipamGc(request: NetworkRequest): void {
  const keep = attachmentsToKeep(request.config.validAttachments);
  const store = storeOf(request);
  const network = `${request.config.name}@ipam`;
  for (const { owner, path } of listAttachments(store, network)) {
    if (!owner || keep?.some(kept => kept.containerID === owner.containerID && kept.ifname === owner.ifname)) continue;
    using attachment = tryLockAttachment(store, network, path);
    if (!attachment || (keep === undefined && attachment.facts.phase === 'ready')) continue;
    release(attachment);
    attachment.remove();
  }
  collectNameless(store, network);
  collectOrphans(store, network);
}

/** @throws CniError code 50 */
export async function ipamStatus(request: NetworkRequest): Promise<void> {
  const found = usage(storeOf(request), `${request.config.name}@ipam`, (await checkedPlanOf(request.config)).pools);
  const full = found.find(({ size, taken }) => BigInt(taken) >= size);
  if (full)
    throw new CniError(codes.notAvailable, `Cannot give an address: all ${full.size} of ${full.pool} are taken`);
}
