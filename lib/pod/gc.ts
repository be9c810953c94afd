/** The verb GC: undoes attachments of this network that the runtime no longer vouches for. */
import { attachmentsToKeep } from '../cni/config.ts';
import { CniError, codes, messageOf } from '../cni/error.ts';
import { builtinIpam } from '../cni/ipam.ts';
import type { NetworkRequest } from '../cni/request.ts';
import { Collector } from './collector.ts';
import type { Context } from './context.ts';
import { delegateVerb } from './delegate.ts';
import { delegationOf } from './ipam.ts';

/** @throws CniError with everything that could not be undone */
export async function gc(request: NetworkRequest, context: Context): Promise<void> {
  const { config, path } = request;
  const keep = attachmentsToKeep(config.validAttachments);
  const collector = new Collector({ settings: config, path }, context);
  const failures = [...(await collector.network({ network: config.name, keep, config })).failures];
  const attempt = async (work: () => Promise<unknown>) => {
    try {
      await work();
    } catch (error) {
      failures.push(error);
    }
  };
  await attempt(() => context.hook.mend());
  if (config.ipam && config.ipam.type !== builtinIpam)
    await attempt(() => delegateVerb(delegationOf(config, 'GC', context, path)));
  if (failures.length === 0) return;
  const [first] = failures;
  if (failures.length === 1) throw first;
  throw new CniError(
    first instanceof CniError ? first.code : codes.internal,
    `Cannot clear away everything of network ${config.name}: ${failures.map(messageOf).join('; ')}`,
  );
}
