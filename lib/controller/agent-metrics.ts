/** Turns the agent's state and counters into Prometheus metrics. */
import { type Histogram, type Metric, MOST_SERIES, metric, one, type Sample } from './prometheus.ts';
import type { WatchStatus } from './watches.ts';

export interface Readings {
  readonly release: string;
  readonly watches: readonly WatchStatus[];
  readonly isServing: boolean;
  readonly pods: number;
  readonly identities: number;
  /** Policies that the kernel refused. */
  readonly refused: number;
  readonly delays: Histogram;
  readonly syncs: Histogram;
  /** Runs of any kind that failed. */
  readonly failures: number;
  readonly cuts: number;
  readonly mended: Readonly<Record<'table' | 'links' | 'routes' | 'forwarding', number>>;
  /** Packets that gates have dropped, by policy. */
  readonly dropped: readonly Sample[];
  /** Bytes. */
  readonly memory: number;
}

const built = (release: string): Metric =>
  metric('build_info', 'The release that runs.', 'gauge', [{ labels: { release }, value: 1 }]);

const mendedMetric = (mended: Readonly<Record<string, number>>): Metric =>
  metric(
    'mended_total',
    "Another program's changes that were put right.",
    'counter',
    Object.entries(mended).map(([what, value]) => ({ labels: { what }, value })),
  );

const failed = (failures: number): Metric =>
  one('failures_total', 'Attempts to bring the node up to date that failed.', 'counter', failures);

const memoryOf = (bytes: number): Metric => one('resident_memory_bytes', 'Memory of the agent.', 'gauge', bytes);

/** Metrics of a warm process without a cluster. */
export const workerMetrics = ({
  release,
  mended,
  failures,
}: {
  readonly release: string;
  /** Operations that it took to put the table right. */
  readonly mended: number;
  readonly failures: number;
}): readonly Metric[] => [
  built(release),
  failed(failures),
  mendedMetric({ table: mended }),
  memoryOf(process.memoryUsage.rss()),
];

export function metricsOf(readings: Readings): readonly Metric[] {
  const { release, watches, isServing, pods, identities, refused, delays, syncs, failures, cuts, mended } = readings;
  const perResource = (name: string, help: string, type: Metric['type'], of: (watch: WatchStatus) => number): Metric =>
    metric(
      name,
      help,
      type,
      watches.map(watch => ({ labels: { resource: watch.resource }, value: of(watch) })),
    );
  return [
    built(release),
    one('serving', '1 where CNI calls are served.', 'gauge', Number(isServing)),
    one('pods', 'Pods that are plugged in on this node.', 'gauge', pods),
    one('identities', 'Identities of these pods: tags in use.', 'gauge', identities),
    one('refused_policies', 'Policies that the kernel refused: whom they select is closed.', 'gauge', refused),
    perResource('objects', 'Objects that the API has told of.', 'gauge', ({ objects }) => objects),
    perResource('watch_up', '1 where the watch is up.', 'gauge', ({ isUp }) => Number(isUp)),
    perResource('watch_losses_total', 'How often the watch was lost.', 'counter', ({ losses }) => losses),
    perResource('watch_age_seconds', 'Since the last sign of life; -1: none yet.', 'gauge', ({ age }) =>
      age === undefined ? -1 : age / 1000,
    ),
    metric('event_to_kernel_seconds', 'From an event of the API to the rules in force.', 'histogram', delays.samples()),
    metric('sync_duration_seconds', 'How long bringing the table up to date took.', 'histogram', syncs.samples()),
    failed(failures),
    one('connections_cut_total', 'Connections ended since no policy allows them any more.', 'counter', cuts),
    mendedMetric(mended),
    metric(
      'dropped_packets_total',
      `Packets that a gate denied to which the policy belongs, for each of its policies; the ${MOST_SERIES} that deny most.`,
      'counter',
      readings.dropped,
    ),
    memoryOf(readings.memory),
  ];
}
