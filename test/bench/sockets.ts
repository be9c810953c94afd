/**
 * TCP as bare as C has it, since Node's own would hide what the packets cost: blocking calls of libc, in a process that does
 * nothing else.
 *
 *   node sockets.ts accept PORT                       takes connections and drops them at once
 *   node sockets.ts echo PORT                         sends back every byte of one connection after another
 *   node sockets.ts connect ADDRESS PORT SECONDS      prints connections per second, one after the other
 *   node sockets.ts bounce ADDRESS PORT SECONDS       prints the median round trip of one byte, in microseconds
 */
import { parseAddress } from '../../lib/ip/address.ts';

const { functions: libc } = process.getBuiltinModule('node:ffi').dlopen('libc.so.6', {
  socket: { arguments: ['int32', 'int32', 'int32'], return: 'int32' },
  setsockopt: { arguments: ['int32', 'int32', 'int32', 'buffer', 'uint32'], return: 'int32' },
  bind: { arguments: ['int32', 'buffer', 'uint32'], return: 'int32' },
  listen: { arguments: ['int32', 'int32'], return: 'int32' },
  accept: { arguments: ['int32', 'uint64', 'uint64'], return: 'int32' },
  connect: { arguments: ['int32', 'buffer', 'uint32'], return: 'int32' },
  send: { arguments: ['int32', 'buffer', 'uint64', 'int32'], return: 'int64' },
  recv: { arguments: ['int32', 'buffer', 'uint64', 'int32'], return: 'int64' },
  close: { arguments: ['int32'], return: 'int32' },
});

const [AF_INET, SOCK_STREAM, SOL_SOCKET, IPPROTO_TCP] = [2, 1, 1, 6];
const [SO_REUSEADDR, SO_LINGER, TCP_NODELAY] = [2, 13, 1];
const on = new Int32Array([1]);
/** Closing sends a reset: no port stays in TIME_WAIT. */
const noLinger = new Int32Array([1, 0]);

function ok(result: number | bigint, what: string): number {
  if (Number(result) < 0) throw new Error(`Cannot ${what}`);
  return Number(result);
}

/** struct sockaddr_in */
function nameOf(address: string, port: number): Uint8Array {
  const name = new DataView(new ArrayBuffer(16));
  name.setUint16(0, AF_INET, true);
  name.setUint16(2, port);
  name.setUint32(4, Number(parseAddress(address)!.value));
  return new Uint8Array(name.buffer);
}

const open = (): number => ok(libc.socket(AF_INET, SOCK_STREAM, 0), 'open a socket');

function connectTo(name: Uint8Array): number {
  const fd = open();
  ok(libc.setsockopt(fd, SOL_SOCKET, SO_LINGER, noLinger, 8), 'set SO_LINGER');
  ok(libc.connect(fd, name, 16), 'connect');
  return fd;
}

function listenOn(port: number): number {
  const fd = open();
  ok(libc.setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, on, 4), 'set SO_REUSEADDR');
  ok(libc.bind(fd, nameOf('0.0.0.0', port), 16), `bind port ${port}`);
  ok(libc.listen(fd, 1024), 'listen');
  console.log('ready');
  return fd;
}

const noDelay = (fd: number): void => void ok(libc.setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, on, 4), 'set TCP_NODELAY');

function serve(port: number, each: (fd: number) => void): never {
  const listener = listenOn(port);
  for (;;) {
    const fd = libc.accept(listener, 0n, 0n);
    if (fd < 0) continue;
    each(fd);
    libc.close(fd);
  }
}

function echo(fd: number): void {
  noDelay(fd);
  const byte = new Uint8Array(1);
  while (libc.recv(fd, byte, 1n, 0) === 1n) libc.send(fd, byte, 1n, 0);
}

const median = (times: number[]): number => times.sort((a, b) => a - b)[times.length >> 1]!;

/** By the median connection, which whatever else the machine does now and then cannot change. */
function connectionsPerSecond(name: Uint8Array, seconds: number): number {
  const times: number[] = [];
  const end = performance.now() + seconds * 1000;
  for (let before = performance.now(); before < end; ) {
    libc.close(connectTo(name));
    const after = performance.now();
    times.push(after - before);
    before = after;
  }
  return 1000 / median(times);
}

function roundTrip(name: Uint8Array, seconds: number): number {
  const fd = connectTo(name);
  noDelay(fd);
  const byte = new Uint8Array(1);
  const times: number[] = [];
  const end = performance.now() + seconds * 1000;
  for (let before = performance.now(); before < end; before = performance.now()) {
    ok(libc.send(fd, byte, 1n, 0), 'send');
    if (libc.recv(fd, byte, 1n, 0) !== 1n) throw new Error('Cannot receive');
    times.push((performance.now() - before) * 1000);
  }
  return median(times);
}

const [role, ...rest] = process.argv.slice(2);
if (role === 'accept') serve(Number(rest[0]), () => {});
if (role === 'echo') serve(Number(rest[0]), echo);
const [address, port, seconds] = rest;
if (!address || !port || !seconds || (role !== 'connect' && role !== 'bounce'))
  throw new Error('Cannot tell what to do');
const measure = role === 'connect' ? connectionsPerSecond : roundTrip;
console.log(measure(nameOf(address, Number(port)), Number(seconds)));
