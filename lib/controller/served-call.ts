/** A CNI call that came over the socket: read once, then refused or carried out as the executable would. */
import { CniError, codes } from '../cni/error.ts';
import {
  type AttachmentRequest,
  type ConfigCache,
  type NetworkRequest,
  type ParsedCall,
  parseRequest,
} from '../cni/request.ts';
import { ownerOf } from '../enforce/owner.ts';
import type { Owner } from '../gate/node-state.ts';
import { hasOurMounts } from '../kernel/mount-namespace.ts';
import { answer, type CallPlace } from '../pod/call.ts';
import { mountMismatch } from '../rpc/mount-view.ts';
import type { CallAnswer, CallRequest } from '../rpc/protocol.ts';
import type { Caller, ReceivedCall } from '../rpc/server.ts';
import { answerTimeoutMs } from '../rpc/timeouts.ts';

/** Opens what a call is carried out with; aborting the signal undoes the call. */
export type OpenContext = (
  ...given: [...Parameters<CallPlace['open']>, signal?: AbortSignal | undefined]
) => ReturnType<CallPlace['open']>;

/** The process that serves calls. */
export interface ServingProcess {
  readonly release: string;
  readonly runDir: string;
  /** Calls of another owner are refused. */
  readonly owner: Owner;
  readonly openContext: OpenContext;
  readonly configs: ConfigCache;
}

const keys = ['enforcer', 'stateDir', 'policies'] as const satisfies readonly (keyof Owner)[];

/** Whether both name the same enforcer and folders. */
export const isSameOwner = (a: Owner, b: Owner): boolean => keys.every(key => a[key] === b[key]);

function otherOwner({ config }: NetworkRequest | AttachmentRequest, { runDir, owner }: ServingProcess) {
  const wanted = { ...ownerOf(config), runDir: config.runDir };
  const ours = { ...owner, runDir };
  const other = ([...keys, 'runDir'] as const).find(key => ours[key] !== wanted[key]);
  return other && `this agent's ${other} is ${ours[other]}, the call's is ${wanted[other]}`;
}

/** Undefined where the call cannot be parsed: carrying it out says why. */
function parsed({ env, stdin, role }: CallRequest, { configs }: ServingProcess): ParsedCall | undefined {
  try {
    return parseRequest(env, () => stdin, role, configs.parse);
  } catch {
    return undefined;
  }
}

/** Aborted with the signal, with a reason that a log understands. */
function undone(hungUp: AbortSignal): AbortSignal {
  const controller = new AbortController();
  const abort = (): void =>
    controller.abort(new CniError(codes.tryAgainLater, 'The caller hung up: the ADD is undone'));
  if (hungUp.aborted) abort();
  else hungUp.addEventListener('abort', abort, { once: true });
  return controller.signal;
}

/** Carries the call out; what it says for stderr stands beside the answer. */
async function carryOut(
  { env, stdin, role }: CallRequest,
  request: ParsedCall | undefined,
  { signal, look }: Caller,
  { release, openContext, caller }: ServingProcess & { readonly caller?: number },
): Promise<CallAnswer> {
  const lines: string[] = [];
  const isAdd = env['CNI_COMMAND'] === 'ADD';
  const log = (line: string): void => void lines.push(line);
  const readStdin = (): string => stdin;
  const paths = caller === undefined ? {} : { caller };
  // A call that only closes and releases goes on when its caller hangs up.
  const open: CallPlace['open'] = (given, own, say) => ({
    ...openContext(given, own, say, isAdd ? undone(signal) : undefined),
    ...paths,
  });
  const known = { env, role, readStdin, ...(request ? { request } : {}) };
  const given = await answer(known, { release, log, open, ...paths });
  look();
  if (isAdd && given.exitCode === 0 && signal.aborted)
    // The caller hung up during the last step, so no process has heard of the result.
    await answer({ env: { ...env, CNI_COMMAND: 'DEL' }, role, readStdin }, { release, log, open: openContext });
  return { ...given, lines };
}

/**
 * Reads a call for the server.
 * @param pid the caller's
 */
export function receiveCall(call: CallRequest, pid: number, process: ServingProcess): ReceivedCall {
  const request = parsed(call, process);
  const seesOurFiles = hasOurMounts(pid);
  const paths = seesOurFiles ? {} : { caller: pid };
  const run = (caller: Caller): Promise<CallAnswer> => carryOut(call, request, caller, { ...process, ...paths });
  if (!request || !('config' in request)) return { run };
  // An IPAM plugin knows no enforcer, and finds the same on disk whichever process runs it.
  const other = call.role === 'tollgate-ipam' ? undefined : otherOwner(request, process);
  const refused = other ?? mountMismatch(request, pid, seesOurFiles);
  const answerTimeout = answerTimeoutMs(request.verb, request.config.enforceTimeout);
  return { run, answerTimeout, ...(refused === undefined ? {} : { refused }) };
}
