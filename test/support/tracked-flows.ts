/** Connections put into a kernel's table by the thousand, as a pod that opens them would. */
import assert from 'node:assert/strict';
import type { Address } from '../../lib/ip/address.ts';
import { type Exchange, type NetlinkRequest, refusalOf } from '../../lib/kernel/message.ts';
import { type Attribute, address, be16, be32, bodyOf, u8 } from '../../lib/netlink/attribute.ts';
import { NLM_F } from '../../lib/netlink/header.ts';

const IPCTNL_MSG_CT_NEW = 0x100;
const UDP = 17;
const CONFIRMED_AND_ANSWERED = 8 | 2;
const AT_ONCE = 500;

function tuple(from: Address, to: Address, sport: number, dport: number): readonly Attribute[] {
  const [source, destination] = from.family === 4 ? ([1, 2] as const) : ([3, 4] as const);
  const ip: Attribute[] = [
    [source, address(from)],
    [destination, address(to)],
  ];
  const proto: Attribute[] = [
    [1, u8(UDP)],
    [2, be16(sport)],
    [3, be16(dport)],
  ];
  return [
    [1, ip],
    [2, proto],
  ];
}

export interface OpenedFlow {
  readonly from: Address;
  readonly to: Address;
  readonly sport: number;
  readonly dport: number;
}

const opened = ({ from, to, sport, dport }: OpenedFlow): NetlinkRequest => ({
  operation: 'open a flow',
  type: IPCTNL_MSG_CT_NEW,
  flags: NLM_F.CREATE,
  body: bodyOf(
    Uint8Array.of(from.family === 4 ? 2 : 10, 0, 0, 0),
    [1, tuple(from, to, sport, dport)],
    [2, tuple(to, from, dport, sport)],
    [3, be32(CONFIRMED_AND_ANSWERED)],
    [7, be32(600)],
  ),
});

export function openFlows(exchange: Exchange, flows: readonly OpenedFlow[]): void {
  for (let at = 0; at < flows.length; at += AT_ONCE)
    for (const answer of exchange(flows.slice(at, at + AT_ONCE).map(opened)))
      assert.equal(refusalOf(answer), undefined);
}

/** `count` flows between the two, each with ports of its own. */
export const manyFlows = (from: Address, to: Address, count: number, dport?: number): readonly OpenedFlow[] =>
  Array.from({ length: count }, (_, i) => ({
    ...{ from, to, sport: 1 + (i % 60_000) },
    dport: dport ?? 1 + Math.floor(i / 60_000),
  }));
