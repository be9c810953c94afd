/** The record of the attachment that a call is about, under its lock, and in a state that the call can start from. */
import { CniError, codes } from '../cni/error.ts';
import type { AttachmentRequest } from '../cni/request.ts';
import { type Attachment, lockAttachment } from '../state/attachment.ts';
import { openStore } from '../state/store.ts';
import { attachmentTimeoutMs, type Context } from './context.ts';
import { homeOf, type PodFacts, writeFacts } from './facts.ts';
import { leavingBy, unplug } from './unplug.ts';

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
    const create = { phase: 'adding', netns, ...writeFacts({ kind, home: homeOf(context.here) }) } as const;
    const locked = await lockAttachment(store, keyOf(request), {
      timeoutMs: attachmentTimeoutMs.ADD,
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
      await unplug(leavingBy(request), attachment, context);
    } finally {
      attachment[Symbol.dispose]();
    }
  }
}

/**
 * The record, locked, where there is one: in the config's stateDir, else in that of the node's table, which is where ADD
 * wrote it if the config has been edited since.
 */
export async function findAttachment(
  request: AttachmentRequest,
  verb: 'DEL' | 'CHECK',
  context: Context,
): Promise<Attachment | undefined> {
  const { stateDir } = request.config;
  const lockIn = async (folder: string) => {
    const options = { timeoutMs: attachmentTimeoutMs[verb], signal: context.signal };
    return (await lockAttachment(openStore(folder), keyOf(request), options))?.attachment;
  };
  const found = await lockIn(stateDir);
  const owner = found ? undefined : context.hook.owner();
  return owner && owner.stateDir !== stateDir ? await lockIn(owner.stateDir) : found;
}
