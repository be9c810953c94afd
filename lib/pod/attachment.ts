/** The record of the attachment that a call is about, under its lock, and in a state that the call can start from. */
import { CniError, codes } from '../cni/error.ts';
import type { AttachmentRequest } from '../cni/request.ts';
import { type Attachment, lockAttachment } from '../state/attachment.ts';
import { openStore } from '../state/store.ts';
import { attachmentDeadline, type Context } from './context.ts';
import { type PodFacts, writeFacts } from './facts.ts';
import { unplug } from './unplug.ts';

/** Why a store is not kept in the config's stateDir: an IPAM plugin for others reads no key of the main plugin. */
const keyOf = ({ config, containerID, ifname }: AttachmentRequest) => ({ network: config.name, containerID, ifname });

/**
 * A record of its own for a new attachment. One that an ADD left behind when it died is undone first.
 * @throws CniError code 101 where the attachment exists
 */
export async function beginAttachment(
  request: AttachmentRequest,
  kind: PodFacts['kind'],
  context: Context,
): Promise<Attachment> {
  const { config, containerID, ifname, netns } = request;
  const store = openStore(config.stateDir);
  for (;;) {
    const create = { phase: 'adding', netns, ...writeFacts({ kind }) } as const;
    const locked = await lockAttachment(store, keyOf(request), {
      deadline: attachmentDeadline.ADD,
      signal: context.signal,
      create,
    });
    const { attachment, fresh } = locked!;
    if (fresh) return attachment;
    try {
      if (attachment.facts.phase === 'ready')
        throw new CniError(
          codes.duplicateAttachment,
          `Cannot add ${ifname} to container ${containerID}: network ${config.name} has it already`,
          `addresses ${attachment.facts.addresses?.join(', ') ?? 'unknown'}; DEL it first`,
        );
      await unplug(request, attachment, context);
    } finally {
      attachment[Symbol.dispose]();
    }
  }
}

/** The record, locked, where there is one. */
export async function findAttachment(
  request: AttachmentRequest,
  verb: 'DEL' | 'CHECK',
  context: Context,
): Promise<Attachment | undefined> {
  const store = openStore(request.config.stateDir);
  const deadline = attachmentDeadline[verb];
  const found = await lockAttachment(store, keyOf(request), { deadline, signal: context.signal });
  return found?.attachment;
}
