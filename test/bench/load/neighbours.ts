/** A pod that may open packet sockets (NET_RAW) and speaks for neighbours that are not there: what its node keeps of them. */
import { policies, runDir, stateDir } from '../../support/cni.ts';
import { forgerIn, forgeries, neighbours, plug, received } from '../../support/forged-neighbours.ts';
import { until } from '../../support/until.ts';
import type { LoadGroup, LoadRow } from '../load-report.ts';

const FORGED = 3_000;
/** Milliseconds: the machine may be slow, and waiting costs nothing. */
const DEADLINE = 300_000;

/** Entries that were left, before, by what could leave any. */
const before: Readonly<Record<string, number>> = { 'ARP requests by addresses of its own subnet': 1_026 };

const ranges = [[{ subnet: '10.61.0.0/16' }], [{ subnet: 'fd00:61::/64' }]];
const ours = { type: 'tollgate', stateDir, runDir, policies, ipam: { type: 'tollgate-ipam', ranges } };

export const group: LoadGroup = async say => {
  const plugged = await plug([ours]);
  using host = plugged.host;
  using forger = await forgerIn(plugged);
  const rows: LoadRow[] = [];
  for (const [what, forge] of Object.entries(forgeries)) {
    const earlier = await received(host, plugged.link);
    for (let sent = 0; sent < FORGED; sent++) forge(forger, sent);
    await until('they arrive', async () => (await received(host, plugged.link)) - earlier >= FORGED, DEADLINE);
    const figure = (await neighbours(host, plugged.link)).filter(ip => !plugged.addresses.includes(ip)).length;
    say(`${what}: ${figure}`);
    const known = before[what];
    rows.push({
      what: `${FORGED} ${what}: neighbours that the node has learnt`,
      ...{ asked: { atMost: 0 }, figure, unit: 'entries' },
      ...(known === undefined ? {} : { before: known }),
    });
  }
  return rows;
};
