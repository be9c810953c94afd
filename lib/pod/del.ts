import type { AttachmentRequest } from '../cni/request.ts';
import { findAttachment } from './attachment.ts';
import type { Context } from './context.ts';
import { leavingBy, unplug } from './unplug.ts';

/** DEL: silent, as often as it comes, whether there is a namespace, a link, a record or none of them. */
export async function del(request: AttachmentRequest, context: Context): Promise<void> {
  for (let isDone = false; !isDone; ) {
    using attachment = await findAttachment(request, 'DEL', context);
    isDone = await unplug(leavingBy(request), attachment, context);
  }
}
