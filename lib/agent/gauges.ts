/** What the agent tells Prometheus, as of now. */
import type { Counted } from '../nft/decode.ts';
import type { Ruleset } from '../policy/ruleset.ts';
import type { Hearing } from './listeners.ts';
import type { Histogram, Metric, Sample } from './metrics.ts';

export interface Readings {
  readonly release: string;
  readonly hearings: readonly Hearing[];
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
  readonly mended: { readonly table: number; readonly links: number };
  /** By chain of the table. */
  readonly drops: ReadonlyMap<string, Counted>;
  readonly chains: Ruleset['chains'];
  /** Bytes. */
  readonly memory: number;
}

const one = (name: string, help: string, type: 'counter' | 'gauge', value: number): Metric => ({
  ...{ name, help, type },
  samples: [{ value }],
});

/** A chain may carry out several policies: what it drops none of them allows, so all of them are named. */
function dropSamples({ drops, chains }: Readings): readonly Sample[] {
  return [...drops].flatMap(([name, { packets }]) => {
    const chain = chains.get(name);
    if (!chain) return [];
    return [{ labels: { direction: chain.direction, policies: chain.policies.join(',') }, value: Number(packets) }];
  });
}

/** Of two chains that are called alike, by their policies and direction, the sum. */
function summed(samples: readonly Sample[]): readonly Sample[] {
  const sums = new Map<string, Sample>();
  for (const sample of samples) {
    const key = JSON.stringify(sample.labels);
    sums.set(key, { ...sample, value: sample.value + (sums.get(key)?.value ?? 0) });
  }
  return [...sums.values()];
}

export function metricsOf(readings: Readings): readonly Metric[] {
  const { release, hearings, isServing, pods, identities, refused, delays, syncs, failures, cuts, mended } = readings;
  const perResource = (name: string, help: string, type: Metric['type'], of: (hearing: Hearing) => number): Metric => ({
    ...{ name, help, type },
    samples: hearings.map(hearing => ({ labels: { resource: hearing.resource }, value: of(hearing) })),
  });
  return [
    { ...one('build_info', 'The release that runs.', 'gauge', 1), samples: [{ labels: { release }, value: 1 }] },
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
    {
      ...{
        name: 'event_to_kernel_seconds',
        help: 'From an event of the API to the rules in force.',
        type: 'histogram',
      },
      samples: delays.samples(),
    },
    {
      ...{ name: 'sync_duration_seconds', help: 'How long bringing the table up to date took.', type: 'histogram' },
      samples: syncs.samples(),
    },
    one('failures_total', 'Attempts to bring the node up to date that failed.', 'counter', failures),
    one('connections_cut_total', 'Connections ended since no policy allows them any more.', 'counter', cuts),
    {
      ...{ name: 'mended_total', help: 'Changes of somebody else that were put right.', type: 'counter' },
      samples: Object.entries(mended).map(([what, value]) => ({ labels: { what }, value })),
    },
    {
      ...{ name: 'dropped_packets_total', help: 'Packets that the gates of these policies denied.', type: 'counter' },
      samples: summed(dropSamples(readings)),
    },
    one('resident_memory_bytes', 'Memory of the agent.', 'gauge', readings.memory),
  ];
}
