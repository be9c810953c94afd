/**
 * GC: whatever a runtime no longer vouches for is taken away, of this network name alone. It goes on after an error and
 * reports all of them at the end.
 */
import { attachmentsToKeep } from '../cni/config.ts';
import { CniError, codes } from '../cni/error.ts';
import { builtinIpam } from '../cni/ipam.ts';
import type { NetworkRequest } from '../cni/request.ts';
import type { Attachment } from '../state/attachment.ts';
import { tryLockAttachment } from '../state/attachment.ts';
import { sweepOrphans } from '../state/orphans.ts';
import { openStore, type Store } from '../state/store.ts';
import { type Listed, listAttachments, sweepNameless } from '../state/sweep.ts';
import type { Context } from './context.ts';
import { delegateVerb } from './delegate.ts';
import { readFacts } from './facts.ts';
import { findLink } from './interface.ts';
import { delegationOf } from './ipam.ts';
import { unplug } from './unplug.ts';

/** A record that is neither finished nor in anybody's hands was left by a call that died; a link dies with its pod. */
function isDead(attachment: Attachment, context: Context): boolean {
  const { kind, pod } = readFacts(attachment.facts);
  if (attachment.facts.phase !== 'ready') return true;
  return kind === 'veth' && pod !== undefined && findLink(context.host, { name: pod.link }) === undefined;
}

async function collect(listed: Listed, request: NetworkRequest, store: Store, context: Context): Promise<void> {
  const { config, path } = request;
  const keep = attachmentsToKeep(config.validAttachments);
  const { owner } = listed;
  if (!owner || keep?.some(kept => kept.containerID === owner.containerID && kept.ifname === owner.ifname)) return;
  using attachment = tryLockAttachment(store, config.name, listed.path);
  if (!attachment || (keep === undefined && !isDead(attachment, context))) return;
  await unplug({ ...owner, config, path }, attachment, context);
}

const said = (error: unknown): string => (error instanceof Error ? error.message : String(error));

/** @throws CniError with everything that could not be taken away */
export async function gc(request: NetworkRequest, context: Context): Promise<void> {
  const { config } = request;
  const store = openStore(config.stateDir);
  const failures: unknown[] = [];
  const attempt = async (work: () => void | Promise<void>) => {
    try {
      await work();
    } catch (error) {
      failures.push(error);
    }
  };
  for (const listed of listAttachments(store, config.name))
    await attempt(() => collect(listed, request, store, context));
  await attempt(() => void sweepNameless(store, config.name));
  await attempt(() => void sweepOrphans(store, config.name));
  await attempt(() => context.hook.mend());
  const delegate = config.ipam && config.ipam.type !== builtinIpam;
  if (delegate) await attempt(() => delegateVerb(delegationOf(config, 'GC', context, request.path)));
  if (failures.length === 0) return;
  const [first] = failures;
  if (failures.length === 1) throw first;
  throw new CniError(
    first instanceof CniError ? first.code : codes.internal,
    `Cannot clear away everything of network ${config.name}: ${failures.map(said).join('; ')}`,
  );
}
