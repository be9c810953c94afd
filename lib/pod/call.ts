/**
 * A CNI call as a value (ARCHITECTURE.md, idea 3): environment and stdin in, stdout and exit code out. The executable carries
 * it out itself, or the agent's worker does; there are not two plugins, there is one, in two places.
 */

import { errorObject } from '../cni/error.ts';
import {
  type AttachmentRequest,
  type Environment,
  errorVersion,
  type NetworkRequest,
  type ParsedCall,
  parseRequest,
  type Role,
} from '../cni/request.ts';
import { printResult, type Result } from '../cni/result.ts';
import { aboutText, versionResult } from '../cni/version.ts';
import { monotonic } from '../kernel/monotonic.ts';
import { printable } from '../tag/printable.ts';
import { add } from './add.ts';
import { addChained } from './chained.ts';
import { check } from './check.ts';
import type { Context } from './context.ts';
import { del } from './del.ts';
import { asCniError } from './failure.ts';
import { gc } from './gc.ts';
import { ipamAdd, ipamCheck, ipamDel, ipamGc, ipamStatus } from './ipam-plugin.ts';
import { openLogFile } from './log-file.ts';
import { status } from './status.ts';

export interface Call {
  readonly env: Environment;
  /** Called for the verbs that have a configuration, and only then. */
  readonly readStdin: () => string;
  readonly role: Role;
  /** The parsed call, where the serving process has parsed it. */
  readonly request?: ParsedCall;
}

export interface CallResult {
  readonly stdout: string;
  readonly exitCode: 0 | 1;
}

/** The process that carries a call out: how it opens the kernel for it, and where its log goes. */
export interface CallPlace {
  readonly release: string;
  readonly log: (line: string) => void;
  readonly open: (
    request: AttachmentRequest | NetworkRequest,
    env: Environment,
    log: (line: string) => void,
  ) => Context & Disposable;
  /** The process whose paths those of the call are; this one where absent. */
  readonly caller?: number;
  /** Asks the warm process first, where there is one; undefined: this process carries the call out. */
  readonly elsewhere?: (
    request: AttachmentRequest | NetworkRequest,
    call: GivenCall,
  ) => Promise<CallResult | undefined>;
}

/** A call whose stdin has been read. */
export interface GivenCall extends Pick<Call, 'env' | 'role'> {
  readonly stdin: string;
}

const done = (stdout: string): CallResult => ({ stdout, exitCode: 0 });

/** Errors have words of others in them. */
const print = (value: unknown): string => `${printable(JSON.stringify(value))}\n`;

async function mainVerb(request: AttachmentRequest | NetworkRequest, context: Context): Promise<Result | undefined> {
  switch (request.verb) {
    case 'ADD':
      return await (request.config.prevResult ? addChained : add)(request, context);
    case 'DEL':
      await del(request, context);
      return undefined;
    case 'CHECK':
      await check(request, context);
      return undefined;
    case 'GC':
      await gc(request, context);
      return undefined;
    case 'STATUS':
      await status(request, context);
      return undefined;
  }
}

async function ipamVerb(request: AttachmentRequest | NetworkRequest, context: Context): Promise<Result | undefined> {
  switch (request.verb) {
    case 'ADD':
      return await ipamAdd(request, context);
    case 'DEL':
      await ipamDel(request);
      return undefined;
    case 'CHECK':
      await ipamCheck(request);
      return undefined;
    case 'GC':
      ipamGc(request);
      return undefined;
    case 'STATUS':
      await ipamStatus(request);
      return undefined;
  }
}

async function carryOut({ env, readStdin, role, request: read }: Call, place: CallPlace): Promise<CallResult> {
  const request = read ?? parseRequest(env, readStdin, role);
  if (request.verb === 'about') {
    place.log(aboutText(role, place.release).trimEnd());
    return done('');
  }
  if (request.verb === 'VERSION') return done(print(versionResult()));
  const answered = await place.elsewhere?.(request, { env, role, stdin: request.config.text });
  if (answered) return answered;
  const stdout = await journalled(request, place, async log => {
    for (const warning of request.warnings) log(warning);
    using context = place.open(request, env, log);
    const result = await (role === 'tollgate-ipam' ? ipamVerb : mainVerb)(request, context);
    return result ? print(printResult(result, request.config.cniVersion)) : '';
  });
  return done(stdout);
}

/** Runtimes ask by these over and over, and nothing changes by it. */
const isAsking = ({ verb }: AttachmentRequest | NetworkRequest): boolean => verb === 'STATUS' || verb === 'CHECK';

/** Runs the work, and writes the lines about the call into its log file, too. */
async function journalled(
  request: AttachmentRequest | NetworkRequest,
  place: CallPlace,
  work: (log: (line: string) => void) => Promise<string>,
): Promise<string> {
  const journal = openLogFile(request, place.caller);
  const start = monotonic();
  const milliseconds = () => `${Math.round(monotonic() - start)} ms`;
  journal.write('debug', `asked with ${request.config.text}`);
  try {
    const stdout = await work(line => {
      place.log(line);
      journal.write('warn', line);
    });
    journal.write(isAsking(request) ? 'debug' : 'info', `done in ${milliseconds()}`);
    if (stdout !== '') journal.write('debug', `answered ${stdout}`);
    return stdout;
  } catch (thrown) {
    const { code, msg, details } = errorObject(asCniError(thrown), request.config.cniVersion);
    journal.write('error', `failed after ${milliseconds()}, code ${code}: ${msg}${details ? `; ${details}` : ''}`);
    throw thrown;
  }
}

/** Never throws: every failure is an error object; the stack trace of one without a type goes to the log. */
export async function answer(call: Call, place: CallPlace): Promise<CallResult> {
  let stdin = call.request && 'config' in call.request ? call.request.config.text : undefined;
  const readStdin = (): string => {
    stdin = call.readStdin();
    return stdin;
  };
  try {
    return await carryOut({ ...call, readStdin }, place);
  } catch (thrown) {
    const error = asCniError(thrown);
    const object = errorObject(error, errorVersion(stdin));
    if (object.code === 199) place.log(thrown instanceof Error ? (thrown.stack ?? thrown.message) : String(thrown));
    return { stdout: print(object), exitCode: 1 };
  }
}
