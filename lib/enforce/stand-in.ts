/**
 * One pod that comes or goes changes what it brings, whoever else is there: the same two tables with fewer pods in them
 * have the same difference, as long as each identity and each way of masquerading still has somebody. So how many pods have
 * which is kept, and where somebody is wanted, one stands in who has nothing else.
 */
import { identityIn } from '../tag/identity.ts';
import { type LocalPod, type NodeState, podKey } from './node.ts';
import type { Difference } from './roster.ts';

/** How many pods there are: all, of each tag, and masqueraded in each way. */
export interface PodCounts {
  readonly pods: number;
  readonly tags: Readonly<Record<string, number>>;
  readonly ways: Readonly<Record<string, number>>;
}

export const noCounts: PodCounts = { pods: 0, tags: {}, ways: {} };

const wayOf = ({ masquerade }: LocalPod): string => (masquerade ? JSON.stringify(masquerade) : '');

/** Other counts, with so many pods like this one more; what nobody has is not in them. */
class Tally {
  #pods: number;
  readonly #tags: Map<string, number>;
  readonly #ways: Map<string, number>;

  constructor({ pods, tags, ways }: PodCounts) {
    this.#pods = pods;
    this.#tags = new Map(Object.entries(tags));
    this.#ways = new Map(Object.entries(ways));
  }

  add(pod: LocalPod, number: 1 | -1): this {
    this.#pods += number;
    const change = (counts: Map<string, number>, key: string): void => {
      const now = (counts.get(key) ?? 0) + number;
      if (now === 0) counts.delete(key);
      else counts.set(key, now);
    };
    change(this.#tags, String(pod.tag));
    change(this.#ways, wayOf(pod));
    return this;
  }

  get counts(): PodCounts {
    return { pods: this.#pods, tags: Object.fromEntries(this.#tags), ways: Object.fromEntries(this.#ways) };
  }
}

/** @param before has at least the pods of the difference that were there */
export function counted(counts: PodCounts, before: NodeState['pods'], { came, went }: Difference): PodCounts {
  const tally = new Tally(counts);
  for (const key of [...went, ...came.map(([key]) => key)]) {
    const pod = before[key];
    if (pod) tally.add(pod, -1);
  }
  for (const [, pod] of came) tally.add(pod, 1);
  return tally.counts;
}

const standIn = (tag: number, text: string, way: string | undefined): LocalPod => {
  const { namespace, labels, namedPorts } = identityIn(text);
  const config = Object.fromEntries(labels);
  return {
    network: '',
    // No container's, since there is a space in it.
    containerID: `of tag ${tag} ${way ?? ''}`,
    ifname: '',
    link: '',
    namespace,
    name: '',
    labels: config,
    given: { config, call: {} },
    namedPorts,
    addresses: [],
    ...(way ? { masquerade: JSON.parse(way) as NonNullable<LocalPod['masquerade']> } : {}),
    hostPorts: [],
    tag,
  };
};

/** For all pods but these: one of each identity, and of each way of masquerading; undefined where one's tag is unknown. */
export function standIns(
  tags: NodeState['tags'],
  counts: PodCounts,
  but: readonly LocalPod[],
): Map<string, LocalPod> | undefined {
  const others = but.reduce((tally, pod) => tally.add(pod, -1), new Tally(counts)).counts;
  const texts = new Map(Object.entries(tags).map(([text, tag]) => [tag, text]));
  const wanted = Object.keys(others.tags).map(Number);
  const ways = Object.keys(others.ways);
  const pods = new Map<string, LocalPod>();
  for (let i = 0; i < Math.max(wanted.length, ways.length); i++) {
    const tag = wanted[Math.min(i, wanted.length - 1)];
    const text = tag === undefined ? undefined : texts.get(tag);
    if (tag === undefined || text === undefined) return undefined;
    const pod = standIn(tag, text, ways[i]);
    pods.set(podKey(pod), pod);
  }
  return pods;
}
