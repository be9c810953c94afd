/**
 * An agent in a process of its own, for what depends on what its process does. Usage: node lone-agent.ts RUNDIR MANNER; it
 * prints a line when it listens. `sleeps` never answers; `computes` answers after it has had a processor for longer than an
 * agent may be silent.
 */
import { createServer } from 'node:net';
import { join } from 'node:path';
import { Conversation } from '../../lib/rpc/connection.ts';
import { answersAfter } from './agent-manners.ts';

/** Milliseconds, in which no timer fires and no connection is read. */
const COMPUTING = 8_000;

function compute(): void {
  for (const end = performance.now() + COMPUTING; performance.now() < end; );
}

const [runDir, manner] = process.argv.slice(2) as [string, string];
let isFirst = true;
createServer(socket => {
  if (manner === 'sleeps') return;
  if (isFirst) compute();
  isFirst = false;
  const answered = answersAfter(0)(new Conversation(socket), socket);
  Promise.resolve(answered).catch(() => socket.destroy());
}).listen(join(runDir, 'cni.sock'), () => console.log('listening'));
