import { formatAddress, formatPrefix } from '../ip/address.ts';
import { unassignable } from '../ip/special.ts';
import { CniError, codes, messageOf } from './error.ts';
import { fields, integer, optional, text } from './field.ts';
import type { Environment, Verb } from './request.ts';
import { type Ip, mixedRoute, type Result, readResult } from './result.ts';
import type { CniVersion } from './version.ts';

/**
 * A delegated IPAM plugin, as far as values go: the paths where it may be, its environment, the meaning of its answer.
 * @see https://github.com/containernetworking/cni/blob/main/SPEC.md#section-4-plugin-delegation
 */

/** How a delegate ended. Its stderr goes to ours as it is. */
export interface DelegateExit {
  /** null where a signal ended it. */
  readonly exitCode: number | null;
  readonly signal?: string;
  readonly stdout: string;
  readonly stderr: string;
}

/** A delegate and what it was asked. */
export interface DelegateCall {
  readonly type: string;
  readonly verb: Verb;
  readonly cniVersion: CniVersion;
}

/**
 * Where the plugin may be, in the order to look: the first regular file (or link to one) that may be executed is it.
 * @throws CniError code 7 where `type` is no plain file name, or names ourselves, which would run for ever
 */
export function delegateCandidates(type: string, path: readonly string[]): readonly string[] {
  const isName = type !== '' && type !== '.' && type !== '..' && !/[/\0]/.test(type);
  if (!isName || type === 'tollgate')
    throw new CniError(
      codes.invalidConfig,
      `Cannot use ${JSON.stringify(type)} for "ipam.type": expected the file name of an IPAM plugin in CNI_PATH`,
    );
  return path.map(folder => `${folder}/${type}`);
}

/** The error where none of the candidates exists. */
export const delegateMissing = (type: string, path: readonly string[]): CniError =>
  new CniError(
    codes.delegateFailed,
    `Cannot run IPAM plugin "${type}": no executable file of that name in CNI_PATH`,
    `CNI_PATH is ${JSON.stringify(path.join(':'))}`,
  );

/** Our own environment with another verb: a failed ADD is undone with DEL. */
export const delegateEnvironment = (env: Environment, verb: Verb): Environment => ({ ...env, CNI_COMMAND: verb });

function decode(stdout: string): unknown {
  try {
    return JSON.parse(stdout);
  } catch {
    return undefined;
  }
}

const clipped = (output: string): string | undefined => {
  const trimmed = output.trim();
  return trimmed === '' ? undefined : trimmed.slice(0, 2000);
};

/**
 * Which code of a delegate's we may give on as our own. Not 3: to a runtime it means that *our* container is unknown and
 * that DEL is needless. Not 100 and above: those mean what that plugin says they mean.
 */
const isShared = (code: number): boolean => code > 0 && code < 100 && code !== codes.unknownContainer;

/** The error object on a delegate's stdout as an error of ours; fits every version, cniVersion is not looked for. */
function delegateError({ type, verb }: DelegateCall, exit: DelegateExit): CniError {
  const action = `IPAM plugin "${type}" failed on ${verb}`;
  const ended = exit.exitCode === null ? `ended by ${exit.signal ?? 'a signal'}` : `exit code ${exit.exitCode}`;
  try {
    const from = fields(decode(exit.stdout), 'stdout');
    const code = optional(from, 'code', integer(0, 0xffffffff)) ?? 0;
    const message = optional(from, 'msg', text) ?? ended;
    const details = optional(from, 'details', text);
    if (isShared(code)) return new CniError(code, `${action}: ${message}`, details);
    const inFull = [`code ${code} of ${type}`, ...(details ? [details] : [])].join(': ');
    return new CniError(codes.delegateFailed, `${action}: ${message}`, inFull);
  } catch {
    const said = clipped(exit.stdout) ?? clipped(exit.stderr) ?? 'it said nothing';
    return new CniError(codes.delegateFailed, `${action}: ${ended}, without an error object`, said);
  }
}

/** @throws CniError where the delegate failed: its own code where that has a meaning for all, else `delegateFailed` */
export function checkDelegateExit(call: DelegateCall, exit: DelegateExit): void {
  if (exit.exitCode !== 0) throw delegateError(call, exit);
}

/** An IPAM result knows no interfaces, so an index into them means nothing yet. */
const withoutIndex = ({ address, gateway }: Ip): Ip => (gateway ? { address, gateway } : { address });

/**
 * Addresses, routes and name service that an IPAM plugin gave on ADD.
 * A caller that gets an error here runs the delegate's DEL before it fails.
 * @throws CniError `delegateFailed` for an answer that is no result, or one without addresses
 */
export function readIpamResult(call: DelegateCall, exit: DelegateExit): Result {
  checkDelegateExit(call, exit);
  let result: Result;
  try {
    result = readResult(decode(exit.stdout), 'stdout', call.cniVersion).result;
  } catch (error) {
    const said = messageOf(error);
    throw new CniError(
      codes.delegateFailed,
      `Cannot read the result of IPAM plugin "${call.type}": ${said}`,
      clipped(exit.stdout),
    );
  }
  if (result.ips.length === 0)
    throw new CniError(codes.delegateFailed, `IPAM plugin "${call.type}" gave no address`, clipped(exit.stdout));
  const mixed = mixedRoute(result.routes);
  if (mixed)
    throw new CniError(
      codes.delegateFailed,
      `Cannot use the route to ${formatPrefix(mixed.dst)} by ${formatAddress(mixed.gw)} that IPAM plugin "${call.type}" gave: expected a gateway of its address family`,
    );
  refuseUnassignable(call, result);
  return { ...result, interfaces: [], ips: result.ips.map(withoutIndex) };
}

function refuseUnassignable({ type }: DelegateCall, { ips }: Result): void {
  for (const { gateway } of ips) {
    const kind = gateway && unassignable(gateway);
    if (!kind) continue;
    throw new CniError(
      codes.delegateFailed,
      `Cannot use gateway ${formatAddress(gateway)} that IPAM plugin "${type}" gave: it is ${kind}, which no interface can have`,
    );
  }
}
