/**
 * The kernel's own counters of its table of connections, as `conntrack -S` shows them.
 * @see include/uapi/linux/netfilter/nfnetlink_conntrack.h
 */
import { type Exchange, must } from '../../lib/kernel/message.ts';
import { NLM_F } from '../../lib/netlink/header.ts';
import { AttributeReader } from '../../lib/netlink/reader.ts';

/** (NFNL_SUBSYS_CTNETLINK << 8) | IPCTNL_MSG_CT_GET_STATS_CPU */
const GET_STATS_CPU = 0x104;
const CTA_STATS = { INSERT: 8 } as const;
const NFGENMSG_LENGTH = 4;

/** Connections that were put into the table of this network namespace, on all processors; of 32 bits each. */
export function insertedConnections(exchange: Exchange): number {
  const request = {
    operation: 'read the counters of conntrack',
    type: GET_STATS_CPU,
    flags: NLM_F.DUMP,
    body: new Uint8Array(NFGENMSG_LENGTH),
  };
  const [processors] = must(exchange([request]));
  return processors!.reduce((sum, { body }) => {
    const counters = new AttributeReader(body.subarray(NFGENMSG_LENGTH), { prefix: 'CTA_STATS', types: CTA_STATS });
    return sum + (counters.be32(CTA_STATS.INSERT) ?? 0);
  }, 0);
}
