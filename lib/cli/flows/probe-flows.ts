/** Finds what an agent that records flows lacks on this node, and which settings it has switched on. */
import type { recorderStatus } from '../../controller/flow-routes.ts';
import type { Lack } from '../../enforce/probe.ts';
import { askAgent, standstillOf } from '../ask-agent.ts';

/** None where no agent records. */
export async function probeFlows(runDir: string): Promise<readonly Lack[]> {
  let status: ReturnType<typeof recorderStatus>;
  try {
    status = await askAgent(runDir, 'GET', '/flows/status');
  } catch (error) {
    const still = standstillOf(error);
    return still
      ? [{ severity: 'blocked', what: `the process that records flows: ${still.message}`, fix: still.advice }]
      : [];
  }
  const { conntrack, problems } = status;
  const note = (what: string, fix?: string): Lack => ({
    severity: 'note',
    what,
    ...(fix === undefined ? {} : { fix }),
  });
  const accounting = conntrack.counts
    ? note('conntrack counts packets and bytes (net.netfilter.nf_conntrack_acct), which flows are told with')
    : note(
        'conntrack counts no packets and bytes (net.netfilter.nf_conntrack_acct is 0): flows are told without',
        'tollgate agent --flow-accounting',
      );
  const deaf = note(
    'conntrack tells of no connections (net.netfilter.nf_conntrack_events is 0): flows are found by a look a minute',
    'sysctl -w net.netfilter.nf_conntrack_events=2',
  );
  return [...(conntrack.events ? [] : [deaf]), accounting, ...problems.map(problem => note(problem))];
}
