/**
 * Callers from another mount namespace, as a runtime is to an agent in a container. The pod's namespace, `resolvConf` and
 * `logFile` are opened as the caller sees them. Where state is kept, and another IPAM plugin, which keeps its own, must be
 * the very same for both, or two would give one address twice: such a call is not ours, and what mounts are missing is told.
 */

import { delegateCandidates } from '../cni/delegate.ts';
import { builtinIpam } from '../cni/ipam.ts';
import type { AttachmentRequest, NetworkRequest } from '../cni/request.ts';
import { isProgramFor, isSamePathFor } from '../kernel/mount-namespace.ts';

const mount = 'mount it at the same path';

/**
 * @param isSame whether the caller sees what we see
 * @returns why the call is not to be carried out here
 */
export function mountMismatch(
  { config, path }: AttachmentRequest | NetworkRequest,
  pid: number,
  isSame: boolean,
): string | undefined {
  if (pid === 0) return "this agent cannot see the caller's process: give it the node's process namespace (hostPID)";
  if (isSame) return undefined;
  const { stateDir, runDir, policies, enforcer, ipam } = config;
  const folders = {
    stateDir,
    runDir,
    // An agent of Kubernetes's takes its policies from the API, and only the name of the folder counts.
    ...(enforcer.kind === 'inline' ? { policies } : {}),
    ...(ipam?.dataDir === undefined ? {} : { 'ipam.dataDir': ipam.dataDir }),
  };
  const other = Object.entries(folders).find(([, folder]) => !isSamePathFor(pid, folder));
  if (other) return `this agent sees another ${other[0]} ${other[1]} than the caller: ${mount}`;
  if (!ipam || ipam.type === builtinIpam) return undefined;
  const program = delegateCandidates(ipam.type, path).find(file => isProgramFor(pid, file));
  if (program === undefined || isSamePathFor(pid, program)) return undefined;
  return `this agent does not see the caller's IPAM plugin ${program}: ${mount}, and its state, too`;
}
