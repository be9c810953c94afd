/** Connections put into a kernel's table by the thousand, as a pod that opens them would. */
import assert from 'node:assert/strict';
import { type Address, addressBytes } from '../lib/ip/address.ts';
import { type Exchange, NLM_F, type Request, refusalOf } from '../lib/kernel/message.ts';
import { formatAttribute } from '../lib/kernel/structs.ts';

const IPCTNL_MSG_CT_NEW = 0x100;
const UDP = 17;
const CONFIRMED_AND_ANSWERED = 8 | 2;
const AT_ONCE = 500;

const big = (value: number, bytes: 2 | 4): Buffer => {
  const buffer = Buffer.alloc(bytes);
  if (bytes === 2) buffer.writeUInt16BE(value);
  else buffer.writeUInt32BE(value);
  return buffer;
};
const plain = (type: number, data: Uint8Array): Buffer => {
  const bytes = Buffer.concat(formatAttribute({ type, data }));
  return Buffer.concat([bytes, new Uint8Array(-bytes.length & 3)]);
};
const nest = (type: number, ...parts: readonly Uint8Array[]): Buffer => plain(type | 0x8000, Buffer.concat(parts));

function tuple(type: number, from: Address, to: Address, sport: number, dport: number): Buffer {
  const [source, destination] = from.family === 4 ? [1, 2] : [3, 4];
  const ip = nest(1, plain(source, addressBytes(from)), plain(destination, addressBytes(to)));
  return nest(type, ip, nest(2, plain(1, Uint8Array.of(UDP)), plain(2, big(sport, 2)), plain(3, big(dport, 2))));
}

export interface OpenedFlow {
  readonly from: Address;
  readonly to: Address;
  readonly sport: number;
  readonly dport: number;
}

const opened = ({ from, to, sport, dport }: OpenedFlow): Request => ({
  operation: 'open a flow',
  type: IPCTNL_MSG_CT_NEW,
  flags: NLM_F.CREATE,
  body: [
    Uint8Array.of(from.family === 4 ? 2 : 10, 0, 0, 0),
    tuple(1, from, to, sport, dport),
    tuple(2, to, from, dport, sport),
    plain(3, big(CONFIRMED_AND_ANSWERED, 4)),
    plain(7, big(600, 4)),
  ],
});

export function openFlows(exchange: Exchange, flows: readonly OpenedFlow[]): void {
  for (let at = 0; at < flows.length; at += AT_ONCE)
    for (const answer of exchange(flows.slice(at, at + AT_ONCE).map(opened)))
      assert.equal(refusalOf(answer), undefined);
}

/** So many flows between the two, each with ports of its own. */
export const manyFlows = (from: Address, to: Address, count: number, dport?: number): readonly OpenedFlow[] =>
  Array.from({ length: count }, (_, i) => ({
    ...{ from, to, sport: 1 + (i % 60_000) },
    dport: dport ?? 1 + Math.floor(i / 60_000),
  }));
