/**
 * The caller's side: one call, handed over once. Before GO nothing has been done: an agent that is alive is waited for,
 * however busy it is, and where it is not, the call runs here. An ADD that only the agent may judge waits for one that is
 * being replaced. After GO the caller cannot know what has been done, so only DEL, which may come twice, runs here.
 */
import { statSync } from 'node:fs';
import { createConnection, type Socket } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import { CniError, codes, errorObject, messageOf } from '../cni/error.ts';
import { errorVersion } from '../cni/request.ts';
import type { CallForAgent } from '../pod/plugin.ts';
import { errnoOf } from '../state/error.ts';
import { Conversation, ConversationError } from './connection.ts';
import { heartbeatAge } from './heartbeat.ts';
import {
  type CallAnswer,
  decodeAnswer,
  decodePlace,
  decodeReason,
  encodeFrame,
  encodeRequest,
  type Frame,
} from './protocol.ts';
import { watchPeer } from './silence.ts';
import { socketPath } from './socket-path.ts';
import { answerTimeoutMs } from './timeouts.ts';

/** Milliseconds. */
export interface HandoverTimeouts {
  /** How long an agent may give no sign of life before the call's turn. */
  readonly silence: number;
  /** How long the call waits for its turn, or for an agent to return, altogether. */
  readonly turn: number;
  /** How long the answer may take after GO; absent: as long as the verb may. */
  readonly answer?: number;
}

/** CRI-O gives a CNI ADD 2 minutes, kubelet gives the whole sandbox 4: half a minute is left for the work itself. */
const defaults: HandoverTimeouts = { silence: 5_000, turn: 90_000 };
/** Milliseconds from one look at something to the next. */
const LOOK = 100;

const failure = ({ stdin }: CallForAgent, code: number, message: string, advice: string): CallAnswer => ({
  stdout: `${JSON.stringify(errorObject(new CniError(code, message, advice), errorVersion(stdin)))}\n`,
  exitCode: 1,
  lines: [],
});

/** Builds the request frame. The network namespace in it is that of this, the calling, process. */
function requestFrame({ role, env, stdin }: CallForAgent): Uint8Array {
  const { dev, ino } = statSync('/proc/thread-self/ns/net');
  const defined = Object.entries(env).filter((entry): entry is [string, string] => entry[1] !== undefined);
  return encodeFrame('request', encodeRequest({ role, netns: { dev, ino }, env: Object.fromEntries(defined), stdin }));
}

function connectOnce(path: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = createConnection(path, () => {
      socket.off('error', reject);
      resolve(socket);
    }).once('error', reject);
  });
}

/** A full queue (EAGAIN) is a busy agent's. @param end of the monotonic clock, in ms */
async function connect(path: string, end: number): Promise<Socket> {
  for (;;)
    try {
      return await connectOnce(path);
    } catch (error) {
      if (errnoOf(error) !== 'EAGAIN' || performance.now() > end) throw error;
      await pause(LOOK);
    }
}

/** READY, when it is the call's turn, or NOT_MINE; waits as long as the agent gives signs of life. QUEUED is one. */
async function awaitTurn(talk: Conversation, socket: Socket, silence: number, end: number): Promise<Frame> {
  const look = watchPeer(socket);
  let place: number | undefined;
  for (let silent = 0; ; ) {
    const frame = await talk.await(['ready', 'notMine', 'queued'], LOOK);
    if (frame && frame.kind !== 'queued') return frame;
    if (frame) place = decodePlace(frame.body);
    const { isActive, state } = look();
    // What holds it up in the kernel would hold this process up, too.
    silent = frame || isActive || state === 'D' ? 0 : silent + LOOK;
    const queue = place === undefined ? '' : ` (the call was number ${place} in its queue)`;
    if (silent > silence) throw new ConversationError(`it gave no sign of life for ${silence} ms${queue}`);
    if (performance.now() > end) throw new ConversationError(`it was busy for too long${queue}`);
  }
}

/** The answer where the agent has not begun the call: undefined, so that it runs here, unless only an agent may judge. */
function withoutAgent(call: CallForAgent, why: string): CallAnswer | undefined {
  const { verb, enforcer, runDir, agentGrace } = call;
  if (enforcer === 'inline') return undefined;
  if (verb === 'ADD')
    return failure(
      call,
      codes.tryAgainLater,
      `Cannot plug the pod in: only the agent may judge it, and ${why}`,
      'see that `tollgate agent` runs on this node; the runtime tries again',
    );
  const away = heartbeatAge(runDir);
  if (verb !== 'STATUS' || away <= agentGrace) return undefined;
  const since = Number.isFinite(away) ? `${Math.round(away)} s ago` : 'never since this node was started';
  return failure(
    call,
    codes.notAvailable,
    `Cannot serve ADD: only the agent may judge pods, and ${why}`,
    `it was last seen ${since}; agentGrace is ${agentGrace} s`,
  );
}

/** The answer after GO was sent and the agent was lost: the call may have been done, in part or whole. */
function lost(call: CallForAgent, why: string): CallAnswer | undefined {
  if (call.verb === 'DEL') return undefined;
  return failure(
    call,
    codes.tryAgainLater,
    `Cannot tell what became of the ${call.verb}: the agent took it over, and then ${why}`,
    call.verb === 'ADD'
      ? 'DEL, GC or the next agent clears what it left; the runtime tries again'
      : 'the runtime tries again',
  );
}

/** Whether the call must wait for an agent that is being replaced: an ADD that only an agent may judge. */
const mayReturn = ({ verb, enforcer, runDir, agentGrace }: CallForAgent): boolean =>
  verb === 'ADD' && enforcer === 'agent' && heartbeatAge(runDir) <= agentGrace;

/** How far the agent got with a call: it answered, refused it, or failed before or after it took the call over. */
type Handed =
  | { readonly answer: CallAnswer }
  | { readonly isTaken: boolean; readonly why: string; readonly isRefused?: boolean };

async function ask(call: CallForAgent, request: Uint8Array, timeouts: HandoverTimeouts, end: number): Promise<Handed> {
  let isTaken = false;
  try {
    const socket = await connect(socketPath(call.runDir), end);
    using talk = new Conversation(socket);
    talk.sendFrame(request);
    const { kind, body } = await awaitTurn(talk, socket, timeouts.silence, end);
    if (kind === 'notMine') return { isTaken, why: decodeReason(body), isRefused: true };
    isTaken = true;
    talk.send('go');
    const timeout = timeouts.answer ?? answerTimeoutMs(call.verb, call.enforceTimeout);
    return { answer: decodeAnswer((await talk.receive(['answer'], timeout)).body) };
  } catch (error) {
    return { isTaken, why: messageOf(error) };
  }
}

/** @returns what the agent answered, or why only it could have; undefined where the call is to be carried out here */
export async function handOver(
  call: CallForAgent,
  timeouts: HandoverTimeouts = defaults,
): Promise<CallAnswer | undefined> {
  if (call.why !== undefined) return withoutAgent(call, call.why);
  let request: Uint8Array;
  try {
    request = requestFrame(call);
  } catch (error) {
    return withoutAgent(call, messageOf(error));
  }
  for (const end = performance.now() + timeouts.turn; ; await pause(LOOK)) {
    const handed = await ask(call, request, timeouts, end);
    if ('answer' in handed) return handed.answer;
    const { isTaken, why, isRefused } = handed;
    if (isTaken) return lost(call, why);
    if (isRefused || performance.now() > end || !mayReturn(call)) return withoutAgent(call, why);
  }
}
