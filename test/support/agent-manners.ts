/** Agents that do what they are told, on sockets of their own: what callers must put up with, in TypeScript and in C. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { Conversation } from '../../lib/rpc/connection.ts';
import { encodeAnswer, encodePlace, encodeReason, encodeTimeout } from '../../lib/rpc/protocol.ts';

export interface Listening extends AsyncDisposable {
  readonly runDir: string;
}

/** @param runDir made where it is absent; an agent that comes back gives its own */
export async function listening(
  server: Server,
  folder: string,
  runDir = mkdtempSync(join(folder, 'run-')),
): Promise<Listening> {
  const sockets = new Set<Socket>();
  server.on('connection', socket => sockets.add(socket));
  await new Promise<void>(resolve => void server.listen(join(runDir, 'cni.sock'), resolve));
  return {
    runDir,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await new Promise(resolve => server.close(resolve));
    },
  };
}

const loneAgent = fileURLToPath(new URL('./lone-agent.ts', import.meta.url));

/** Listens when this returns; see lone-agent.ts. */
export async function startLoneAgent(
  runDir: string,
  manner: 'sleeps' | 'computes',
): Promise<ChildProcess & Disposable> {
  const child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', loneAgent, runDir, manner], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await once(child.stdout!, 'data');
  return Object.assign(child, { [Symbol.dispose]: () => void child.kill('SIGKILL') });
}

/** The behaviour of an agent on the one connection that it gets. */
export type Manner = (talk: Conversation, socket: Socket) => Promise<void> | void;
export const agentThat = (manner: Manner, folder: string, runDir?: string): Promise<Listening> =>
  listening(
    createServer(socket => {
      Promise.resolve(manner(new Conversation(socket), socket)).catch(() => socket.destroy());
    }),
    folder,
    runDir,
  );

/** Milliseconds that no caller takes to say what it says at once, on however busy a machine. */
export const PATIENCE = 120_000;
export const until = (talk: Conversation, kind: 'request' | 'go') => talk.receive([kind], PATIENCE);

export const beforeGo: Readonly<Record<string, Manner>> = {
  'accepts and dies': talk => talk[Symbol.dispose](),
  'dies when it has read the request': async talk => {
    await until(talk, 'request');
    talk[Symbol.dispose]();
  },
  'speaks another protocol': (_, socket) => void socket.write('HTTP/1.1 400 Bad Request\r\n\r\n'),
  'answers before it was told to go': talk =>
    talk.send('answer', encodeAnswer({ stdout: '{}', exitCode: 0, lines: [] })),
  'says that the call is not its own': async talk => {
    await until(talk, 'request');
    talk.send('notMine', encodeReason('this agent serves others'));
  },
};

/** Answers every request as it should, after so many turns of telling the caller its place in the queue, a second each. */
export const answersAfter =
  (turns: number, stdout = 'answered\n'): Manner =>
  async talk => {
    await until(talk, 'request');
    for (let place = turns; place > 0 && !talk.hungUp.aborted; place--) {
      talk.send('queued', encodePlace(place));
      await pause(1_000);
    }
    talk.send('ready', encodeTimeout(60_000));
    await until(talk, 'go');
    await talk.finish('answer', encodeAnswer({ stdout, exitCode: 0, lines: [] }), PATIENCE);
  };

export const afterGo: Readonly<Record<string, Manner>> = {
  dies: async talk => {
    await until(talk, 'request');
    talk.send('ready', encodeTimeout(300));
    await until(talk, 'go');
    talk[Symbol.dispose]();
  },
  'never answers': async talk => {
    await until(talk, 'request');
    talk.send('ready', encodeTimeout(300));
    await until(talk, 'go');
  },
  'answers with garbage': async (talk, socket) => {
    await until(talk, 'request');
    talk.send('ready', encodeTimeout(300));
    await until(talk, 'go');
    socket.write('garbage!');
  },
};
