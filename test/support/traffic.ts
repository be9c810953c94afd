/**
 * A program in a pod that has traffic until its stdin ends, and then says as JSON what became of it.
 * Usage: traffic.ts serve PORT: echoes what comes by UDP and by TCP; it prints a line when it listens, and nothing at its end.
 *        traffic.ts ask PORT ADDRESS…: asks each address without a pause, and prints Asked of each.
 *        traffic.ts knock PORT ADDRESS…: sends to each address without waiting for answers.
 */
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { connect, createServer, isIPv6 } from 'node:net';
import { createInterface } from 'node:readline';
import { setTimeout as pause } from 'node:timers/promises';

export interface Asked {
  /** Datagrams: half of one flow, half of new ones. */
  readonly sent: number;
  readonly lost: number;
  /** Lines that one TCP connection for each address sent, and that came back. */
  readonly lines: number;
  readonly isBroken: boolean;
}

/** Milliseconds after which a datagram is lost, and a connection broken: the busiest machine has handed it on by then. */
const PATIENCE = 30_000;
/** Milliseconds from one to the next. */
const INTERVAL = 3;

const [mode, portText, ...addresses] = process.argv.slice(2);
const port = Number(portText);
let isOver = false;
process.stdin.resume().once('end', () => {
  isOver = true;
});

const socketTo = (address: string): Socket => createSocket(isIPv6(address) ? 'udp6' : 'udp4');

async function serve(): Promise<void> {
  const echo = createSocket('udp6');
  echo.on('message', (message, from) => echo.send(message, from.port, from.address));
  echo.bind(port);
  await once(echo, 'listening');
  createServer(socket => socket.on('error', () => {}).pipe(socket)).listen(port, () => console.log('listening'));
  await once(process.stdin, 'end');
}

/** One datagram and its echo. @returns whether it came */
async function echoed(socket: Socket, text: string, address: string): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const heard = (message: Buffer) => {
    if (message.toString() === text) resolve(true);
  };
  socket.on('message', heard);
  socket.send(text, port, address, error => error && resolve(false));
  const end = setTimeout(() => resolve(false), PATIENCE);
  const came = await promise;
  clearTimeout(end);
  socket.off('message', heard);
  return came;
}

/** Says line after line on one connection, each when the one before it has come back. */
async function talk(address: string): Promise<{ readonly lines: number; readonly isBroken: boolean }> {
  const socket = connect({ host: address, port, timeout: PATIENCE });
  socket.on('timeout', () => socket.destroy());
  let lines = 0;
  try {
    await once(socket, 'connect');
    const replies = createInterface(socket)[Symbol.asyncIterator]();
    while (!isOver) {
      socket.write(`${lines}\n`);
      const { value, done } = await replies.next();
      if (done || value !== String(lines)) return { lines, isBroken: true };
      lines++;
      await pause(INTERVAL);
    }
    return { lines, isBroken: false };
  } catch {
    return { lines, isBroken: true };
  } finally {
    socket.destroy();
  }
}

async function ask(address: string): Promise<Asked> {
  const talking = talk(address);
  const held = socketTo(address);
  let sent = 0;
  let lost = 0;
  while (!isOver) {
    const socket = sent % 2 === 0 ? held : socketTo(address);
    if (!(await echoed(socket, String(sent++), address))) lost++;
    if (socket !== held) socket.close();
    await pause(INTERVAL);
  }
  held.close();
  return { sent, lost, ...(await talking) };
}

async function knock(address: string): Promise<void> {
  while (!isOver) {
    const socket = socketTo(address);
    socket.on('error', () => {}).send('knock', port, address, () => socket.close());
    connect({ host: address, port, signal: AbortSignal.timeout(INTERVAL * 10) }).on('error', () => {});
    await pause(INTERVAL);
  }
}

if (mode === 'serve') await serve();
else if (mode === 'ask') console.log(JSON.stringify(await Promise.all(addresses.map(ask))));
else await Promise.all(addresses.map(knock));
process.exit(0);
