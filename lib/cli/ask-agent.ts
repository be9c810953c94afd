/** Asks the agent of this node on its socket, as root, for answers that only the agent has. */

import { type ClientRequest, request } from 'node:http';
import { messageOf } from '../cni/error.ts';
import { agentSocket } from '../controller/http-server.ts';
import type { NodeMended } from '../controller/tending.ts';
import { TOO_LARGE } from '../controller/world-manifests.ts';
import type { Kept } from '../nodestore/policy-folder.ts';
import type { Cleared } from '../pod/clear-node.ts';
import type { Document } from '../policy/manifest/manifest.ts';
import { warmProcessOf } from '../rpc/listen.ts';
import { Silence, StandsStillError, watchPeer } from '../rpc/silence.ts';
import type { Live } from './live-node.ts';

/** Milliseconds from one look at a silent agent to the next. */
const LOOK = 500;

/** The agent answered, and its answer is no. */
export class AgentRefusal extends Error {
  override readonly name = 'AgentRefusal';
  readonly status: number;
  /** The reason, in the agent's words. */
  readonly why: string;

  constructor(status: number, why: string) {
    super(`it says ${status}: ${why}`);
    this.status = status;
    this.why = why;
  }
}

/**
 * Gives the agent up once it is silent for too long, and for no other reason: it gives a sign of life every second while it
 * makes its answer, however long that takes.
 */
export function untilSilent(asked: ClientRequest): ClientRequest {
  asked.once('socket', socket =>
    socket.once('connect', () => {
      const silence = new Silence(watchPeer(socket));
      let heard = 0;
      const timer = setInterval(() => {
        const why = silence.after(LOOK, socket.bytesRead > heard);
        heard = socket.bytesRead;
        if (why) asked.destroy(why);
      }, LOOK);
      socket.once('close', () => clearInterval(timer));
    }),
  );
  return asked;
}

function fetchText(runDir: string, method: 'GET' | 'POST', path: string): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const asked = request({ socketPath: agentSocket(runDir), method, path, agent: false }, response => {
    const chunks: Buffer[] = [];
    response.on('data', (chunk: Buffer) => chunks.push(chunk)).on('error', reject);
    response.on('end', () => {
      const text = Buffer.concat(chunks).toString();
      if (response.statusCode === 200) resolve(text);
      else reject(new AgentRefusal(response.statusCode ?? 0, text.trim()));
    });
  });
  untilSilent(asked).on('error', reject).end();
  return promise;
}

function adviceOn(runDir: string, error: unknown): string {
  if (error instanceof AgentRefusal) return '';
  if (error instanceof StandsStillError) return `; ${error.advice}`;
  const pid = warmProcessOf(runDir);
  return pid === undefined
    ? '; see that `tollgate agent` runs'
    : `; the warm process here is process ${pid}: a worker (agent --no-kubernetes) answers only with --flows, an agent of Kubernetes once it has begun`;
}

/** The error for a question that the agent did not answer: the cause, and what to do. */
export function unanswered(runDir: string, error: unknown): Error {
  const message = `Cannot ask the agent of this node on ${agentSocket(runDir)}: ${messageOf(error)}${adviceOn(runDir, error)}`;
  return new Error(message, { cause: error });
}

/** Why an `unanswered` question was given up, where the agent is there and stands still. */
export const standstillOf = (error: unknown): StandsStillError | undefined =>
  error instanceof Error && error.cause instanceof StandsStillError ? error.cause : undefined;

/**
 * Asks the agent for a text.
 * @throws Error where there is no agent, or it gives no sign of life; its cause is a StandsStillError then
 */
export async function askAgentText(runDir: string, method: 'GET' | 'POST', path: string): Promise<string> {
  try {
    return await fetchText(runDir, method, path);
  } catch (error) {
    throw unanswered(runDir, error);
  }
}

/** Asks the agent for a JSON value. @throws as `askAgentText` */
export const askAgent = async <T>(...question: Parameters<typeof askAgentText>): Promise<T> =>
  JSON.parse(await askAgentText(...question)) as T;

interface AgentItem {
  readonly metadata?: { readonly resourceVersion?: string };
  readonly [TOO_LARGE]?: true;
}

/** The manifests that the agent judges by, which take the place of a folder's files on its node. */
export async function manifestsOfAgent(runDir: string): Promise<Kept> {
  const { items } = await askAgent<{ readonly items: readonly AgentItem[] }>(runDir, 'GET', '/manifests');
  const documents = items.map((item, document): Document => {
    const { [TOO_LARGE]: isTooLarge, ...value } = item;
    const resourceVersion = value.metadata?.resourceVersion ?? 'unknown';
    return { file: 'the Kubernetes API', document, resourceVersion, value, ...(isTooLarge ? { isTooLarge } : {}) };
  });
  return { 'the Kubernetes API': { stamp: String(Date.now()), documents } };
}

/** Whether this node's table is an agent's, which no other process may change. */
export const isAgents = ({ found }: Live): boolean => found?.owner.enforcer === 'agent';

/** Has the agent do what `clearNode` does, between its other work. */
export async function clearedByAgent(runDir: string): Promise<Cleared & { readonly nft: readonly string[] }> {
  const { nft, adopted, undone, failures } = await askAgent<NodeMended>(runDir, 'POST', '/mend');
  const nothing = { released: [], nameless: [], links: [], unknown: [], table: [], isRebuilt: false };
  return { ...nothing, nft, adopted, undone, failures };
}
