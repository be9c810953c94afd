/**
 * What nobody needs any more, of one network: taken away by the very code that DEL goes through. Shared by the verb GC and
 * by the command of that name; it goes on after an error, and gives all errors at the end.
 */

import type { Config } from '../cni/config.ts';
import type { AttachmentName } from '../cni/request.ts';
import { type Attachment, tryLockAttachment } from '../state/attachment.ts';
import { sweepOrphans } from '../state/orphans.ts';
import { openStore } from '../state/store.ts';
import { type Listed, listAttachments, sweepNameless } from '../state/sweep.ts';
import { type Adopted, adopt } from './adopt.ts';
import type { Context } from './context.ts';
import { homeOf, readFacts } from './facts.ts';
import { hostEnd, lookUpIn } from './own-link.ts';
import { unplug } from './unplug.ts';

export interface CollectScope {
  readonly config: Config;
  /** CNI_PATH, for delegates. */
  readonly path: readonly string[];
  /** Attachments that a runtime vouches for; undefined: nobody said, so only what is provably dead may go. */
  readonly keep: readonly AttachmentName[] | undefined;
}

/** An attachment that was undone. */
export interface Undone {
  readonly network: string;
  readonly containerID: string;
  readonly ifname: string;
  /** `namespace/name`, as far as its record knew. */
  readonly pod?: string;
  readonly addresses: readonly string[];
  readonly why: string;
}

export interface Collected {
  /** Running pods whose records were lost, and are written again. */
  readonly adopted: readonly Adopted[];
  readonly undone: readonly Undone[];
  /** Addresses that were held by nobody. */
  readonly released: readonly string[];
  /** Records that did not say whose they were. */
  readonly nameless: readonly string[];
  readonly failures: readonly unknown[];
}

/**
 * Why nobody needs the attachment; undefined where somebody may. A record that is neither finished nor in anybody's hands
 * was left by a call that died; a link dies with its pod. Of another network namespace we cannot tell.
 */
export function deathOf(
  { facts }: Pick<Attachment, 'facts'>,
  context: Pick<Context, 'host' | 'here'>,
): string | undefined {
  const { kind, pod, home } = readFacts(facts);
  if (home !== undefined && home !== homeOf(context.here)) return undefined;
  if (facts.phase === 'deleting') return 'its DEL died halfway';
  if (facts.phase !== 'ready') return 'its ADD died halfway';
  const isGone = kind === 'veth' && pod !== undefined && !hostEnd(lookUpIn(context.host), pod);
  return isGone ? 'its interface is gone' : undefined;
}

async function collectOne(listed: Listed, { config, path, keep }: CollectScope, context: Context): Promise<Undone[]> {
  const { owner } = listed;
  if (!owner || keep?.some(kept => kept.containerID === owner.containerID && kept.ifname === owner.ifname)) return [];
  const undo = (attachment: Attachment | undefined) => unplug({ ...owner, config, path }, attachment, context);
  if (listed.isLost && keep !== undefined) {
    await undo(undefined);
    return [{ ...owner, addresses: [], why: 'its record is gone, and its runtime no longer knows it' }];
  }
  using attachment = tryLockAttachment(openStore(config.stateDir), config.name, listed.path);
  if (!attachment) return [];
  const death = deathOf(attachment, context);
  if (keep === undefined && death === undefined) return [];
  const { pod } = readFacts(attachment.facts);
  const { addresses = [] } = attachment.facts;
  await undo(attachment);
  const why = death ?? 'its runtime no longer knows it';
  return [{ ...owner, ...(pod ? { pod: `${pod.namespace}/${pod.name}` } : {}), addresses, why }];
}

export async function collect(scope: CollectScope, context: Context): Promise<Collected> {
  const { stateDir, name } = scope.config;
  const store = openStore(stateDir);
  const failures: unknown[] = [];
  const attempt = async <T>(work: () => readonly T[] | Promise<readonly T[]>): Promise<readonly T[]> => {
    try {
      return await work();
    } catch (error) {
      failures.push(error);
      return [];
    }
  };
  // First of all: what has no record passes for dead.
  const { adopted, failures: unadopted } = await adopt(store, name, context);
  failures.push(...unadopted);
  const undone: Undone[] = [];
  for (const listed of listAttachments(store, name))
    undone.push(...(await attempt(() => collectOne(listed, scope, context))));
  const nameless = await attempt(() => sweepNameless(store, name));
  const released = await attempt(() => sweepOrphans(store, name));
  await attempt(() => context.reaper.drained().then(() => []));
  return { adopted, undone, released, nameless, failures };
}
