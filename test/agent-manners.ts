/** Agents that do what they are told, on sockets of their own: what callers must put up with, in TypeScript and in C. */
import { mkdtempSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { Conversation } from '../lib/agent/conversation.ts';
import { encodeAnswer, encodePatience, encodeReason } from '../lib/agent/protocol.ts';

export interface Listening extends AsyncDisposable {
  readonly runDir: string;
}

export async function listening(server: Server, folder: string): Promise<Listening> {
  const runDir = mkdtempSync(join(folder, 'run-'));
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

/** What an agent does with the one connection that it gets. */
export type Manner = (talk: Conversation, socket: Socket) => Promise<void> | void;
export const agentThat = (manner: Manner, folder: string): Promise<Listening> =>
  listening(
    createServer(socket => {
      Promise.resolve(manner(new Conversation(socket), socket)).catch(() => socket.destroy());
    }),
    folder,
  );

export const until = (talk: Conversation, kind: 'request' | 'go') => talk.receive([kind], 5_000);

export const beforeGo: Readonly<Record<string, Manner>> = {
  'accepts and dies': talk => talk[Symbol.dispose](),
  'never says a word': () => {},
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

export const afterGo: Readonly<Record<string, Manner>> = {
  dies: async talk => {
    await until(talk, 'request');
    talk.send('ready', encodePatience(300));
    await until(talk, 'go');
    talk[Symbol.dispose]();
  },
  'never answers': async talk => {
    await until(talk, 'request');
    talk.send('ready', encodePatience(300));
    await until(talk, 'go');
  },
  'answers with garbage': async (talk, socket) => {
    await until(talk, 'request');
    talk.send('ready', encodePatience(300));
    await until(talk, 'go');
    socket.write('garbage!');
  },
};
