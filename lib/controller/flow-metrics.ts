/** Turns the counts of a flow recorder into Prometheus metrics. */
import type { FlowRecorder } from './flow-recorder.ts';
import { type LabelValues, type Metric, MOST_SERIES, metric, one, type Sample } from './prometheus.ts';

const most = <T extends LabelValues>(counts: Iterable<readonly [labels: T, value: number]>): readonly Sample[] =>
  [...counts]
    .sort(([, a], [, b]) => b - a)
    .slice(0, MOST_SERIES)
    .map(([labels, value]) => ({ labels, value }));

export function flowMetrics({
  journal,
  attribution,
}: Pick<FlowRecorder, 'journal' | 'attribution'>): readonly Metric[] {
  const { totals } = journal;
  return [
    metric(
      'flows_total',
      'Flows of pods of this node, by the direction that was judged here and by what the kernel did.',
      'counter',
      totals.byDirection.map(([direction, verdict, value]) => ({ labels: { direction, verdict }, value })),
    ),
    metric(
      'flows_denied_total',
      `Denied flows for each policy that denied them; the ${MOST_SERIES} that deny most.`,
      'counter',
      most([...totals.deniedBy].map(([policy, value]) => [{ policy }, value])),
    ),
    metric(
      'flows_staged_total',
      `Flows that would fare otherwise if staged policies were in force, for each of these and by the verdict that would be; the ${MOST_SERIES} with most.`,
      'counter',
      most(
        [...totals.staged].flatMap(([policy, { wouldDeny, wouldAllow }]): [LabelValues, number][] => [
          [{ policy, verdict: 'denied' }, wouldDeny],
          [{ policy, verdict: 'allowed' }, wouldAllow],
        ]),
      ),
    ),
    one(
      'flow_events_lost_total',
      'Events of conntrack that were lost before they were read.',
      'counter',
      totals.lostEvents,
    ),
    one(
      'flows_unattributed_total',
      'Flows that came too fast for policies to be asked.',
      'counter',
      attribution.unanswered,
    ),
    one('flow_store_bytes', 'What is kept of flows, in bytes.', 'gauge', journal.bytes),
    one('flow_store_flows', 'Single flows that are kept.', 'gauge', journal.size),
    one('flows_open', 'Flows that are kept and open.', 'gauge', journal.open),
  ];
}
