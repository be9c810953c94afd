/** STATUS: could an ADD be served now? Runtimes ask every few seconds, so it looks at little and changes nothing. */
import { CniError, codes, messageOf } from '../cni/error.ts';
import { builtinIpam } from '../cni/ipam.ts';
import type { NetworkRequest } from '../cni/request.ts';
import { probeForwarding, probeIpv6 } from '../enforce/probe.ts';
import type { Family } from '../ip/address.ts';
import { usage } from '../state/claims.ts';
import { openStore } from '../state/store.ts';
import type { Context } from './context.ts';
import { delegateVerb, findDelegate } from './delegate.ts';
import { checkedPlanOf, delegationOf } from './ipam.ts';
import { unwritable } from './writable.ts';

const unavailable = (message: string, details?: string): CniError => new CniError(codes.notAvailable, message, details);

function checkWritable(folder: string): void {
  const why = unwritable(folder);
  if (why !== undefined) throw unavailable(why, 'see "stateDir" and "runDir"');
}

/** @returns the families that pods of this network get addresses of */
async function checkPools({ config }: NetworkRequest): Promise<ReadonlySet<Family>> {
  const { pools } = await checkedPlanOf(config);
  const full = usage(openStore(config.stateDir), config.name, pools).find(({ size, taken }) => BigInt(taken) >= size);
  if (full)
    throw unavailable(
      `Cannot serve ADD in network ${config.name}: all ${full.size} addresses of ${full.pool} are taken`,
      'delete pods, widen the range, or run `tollgate gc` if dead pods hold addresses',
    );
  return new Set(pools.map(({ family }) => family));
}

/** Checks that ADD could switch on the families that it needs. @throws CniError */
function checkFamilies(families: ReadonlySet<Family>): void {
  const [off] = families.has(6) ? probeIpv6('broken') : [];
  if (off) throw unavailable(`Cannot give pods IPv6 addresses: ${off.what}`, off.fix);
  const broken = probeForwarding(families).find(({ severity }) => severity === 'broken');
  if (broken) throw unavailable(`Cannot route pods: ${broken.what}`, broken.fix);
}

function checkDelegate(type: string, path: readonly string[]): void {
  try {
    findDelegate(type, path);
  } catch (error) {
    throw unavailable(messageOf(error));
  }
}

/** @throws CniError code 50, 51, or what a delegated IPAM said */
export async function status(request: NetworkRequest, context: Context): Promise<void> {
  const { config, path } = request;
  checkWritable(config.stateDir);
  checkWritable(config.runDir);
  if (config.ipam?.type === builtinIpam) checkFamilies(await checkPools(request));
  else if (config.ipam) {
    checkDelegate(config.ipam.type, path);
    await delegateVerb(delegationOf(config, 'STATUS', context, path));
  }
  context.hook.probe();
}
