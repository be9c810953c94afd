/**
 * The caller's side of design idea 3: one call, handed over once. Before GO nothing has been done, so any failure means that
 * the call runs here; after GO nobody knows what has been done, so only DEL, which may come twice, does.
 */
import { statSync } from 'node:fs';
import { createConnection } from 'node:net';
import { CniError, codes, errorObject } from '../cni/error.ts';
import { errorVersion } from '../cni/request.ts';
import type { CallForAgent } from '../pod/plugin.ts';
import { Conversation, ConversationError } from './conversation.ts';
import { said } from './log.ts';
import { socketPath } from './path.ts';
import { answerPatience } from './patience.ts';
import { type CallAnswer, decodeAnswer, decodeReason, encodeFrame, encodeRequest } from './protocol.ts';
import { secondsAway } from './seen.ts';

/** Milliseconds. */
export interface HandoverDeadlines {
  readonly connect: number;
  readonly ready: number;
  /** From GO; absent: by verb. */
  readonly answer?: number;
}

/** A worker with a hundred ADDs at hand gets round to all of its callers in less. */
const defaults: HandoverDeadlines = { connect: 1_000, ready: 5_000 };

const failure = ({ stdin }: CallForAgent, code: number, message: string, advice: string): CallAnswer => ({
  stdout: `${JSON.stringify(errorObject(new CniError(code, message, advice), errorVersion(stdin)))}\n`,
  exitCode: 1,
  lines: [],
});

/** The call's own process is who it is told about by. */
function requestFrame({ role, env, stdin }: CallForAgent): Uint8Array {
  const { dev, ino } = statSync('/proc/thread-self/ns/net');
  const defined = Object.entries(env).filter((entry): entry is [string, string] => entry[1] !== undefined);
  return encodeFrame('request', encodeRequest({ role, netns: { dev, ino }, env: Object.fromEntries(defined), stdin }));
}

function connect(path: string, deadline: number): Promise<Conversation> {
  const socket = createConnection(path);
  const talk = new Conversation(socket);
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => fail(new ConversationError(`no connection within ${deadline} ms`)), deadline);
    const fail = (error: unknown): void => {
      clearTimeout(timer);
      socket.destroy();
      reject(error);
    };
    talk.hungUp.addEventListener('abort', () => fail(talk.hungUp.reason), { once: true });
    socket.once('connect', () => {
      clearTimeout(timer);
      resolve(talk);
    });
  });
}

/** Nothing has been done: the call runs here, unless that is only for the agent to do. */
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
  const away = secondsAway(runDir);
  if (verb !== 'STATUS' || away <= agentGrace) return undefined;
  const since = Number.isFinite(away) ? `${Math.round(away)} s ago` : 'never since this node was started';
  return failure(
    call,
    codes.notAvailable,
    `Cannot serve ADD: only the agent may judge pods, and ${why}`,
    `it was last seen ${since}; agentGrace is ${agentGrace} s`,
  );
}

/** It may have been done, in part or whole. */
function lost(call: CallForAgent, why: string): CallAnswer | undefined {
  if (call.verb === 'DEL') return undefined;
  return failure(
    call,
    codes.tryAgainLater,
    `Cannot tell what became of the ${call.verb}: the agent took it over, and then ${why}`,
    call.verb === 'ADD' ? 'the agent undoes it, or DEL does; the runtime tries again' : 'the runtime tries again',
  );
}

/** @returns what the agent answered, or why only it could have; undefined where the call is to be carried out here */
export async function handOver(
  call: CallForAgent,
  deadlines: HandoverDeadlines = defaults,
): Promise<CallAnswer | undefined> {
  if (call.why !== undefined) return withoutAgent(call, call.why);
  const patience = answerPatience(call.verb, call.enforceTimeout);
  let isGone = false;
  try {
    const request = requestFrame(call);
    using talk = await connect(socketPath(call.runDir), deadlines.connect);
    talk.sendFrame(request);
    const { kind, body } = await talk.receive(['ready', 'notMine'], deadlines.ready);
    if (kind === 'notMine') return withoutAgent(call, decodeReason(body));
    isGone = true;
    talk.send('go');
    return decodeAnswer((await talk.receive(['answer'], deadlines.answer ?? patience)).body);
  } catch (error) {
    return isGone ? lost(call, said(error)) : withoutAgent(call, said(error));
  }
}
