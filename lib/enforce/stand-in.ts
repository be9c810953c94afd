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

/** What nobody has is not in them. */
function changed(counts: Readonly<Record<string, number>>, key: string, by: 1 | -1): Record<string, number> {
  const now = (counts[key] ?? 0) + by;
  if (now !== 0) return { ...counts, [key]: now };
  const { [key]: _, ...others } = counts;
  return others;
}

const withOne = ({ pods, tags, ways }: PodCounts, pod: LocalPod, by: 1 | -1): PodCounts => ({
  pods: pods + by,
  tags: changed(tags, String(pod.tag), by),
  ways: changed(ways, wayOf(pod), by),
});

/** @param before has at least the pods of the difference that were there */
export function counted(counts: PodCounts, before: NodeState['pods'], { came, went }: Difference): PodCounts {
  const gone = [...went, ...came.map(([key]) => key)].flatMap(key => before[key] ?? []);
  const left = gone.reduce((now, pod) => withOne(now, pod, -1), counts);
  return came.reduce((now, [, pod]) => withOne(now, pod, 1), left);
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

/** Of the same tags, those that were made before: from call to call they are the same. */
const made = new WeakMap<NodeState['tags'], Map<string, LocalPod>>();

function remembered(tags: NodeState['tags'], tag: number, text: string, way: string | undefined): LocalPod {
  const known = made.get(tags) ?? new Map<string, LocalPod>();
  made.set(tags, known);
  const key = `${tag} ${way ?? ''}`;
  const pod = known.get(key) ?? standIn(tag, text, way);
  known.set(key, pod);
  return pod;
}

/** For all pods but these: one of each identity, and of each way of masquerading; undefined where one's tag is unknown. */
export function standIns(
  tags: NodeState['tags'],
  counts: PodCounts,
  but: readonly LocalPod[],
): Map<string, LocalPod> | undefined {
  const others = but.reduce((now, pod) => withOne(now, pod, -1), counts);
  const texts = new Map(Object.entries(tags).map(([text, tag]) => [tag, text]));
  const wanted = Object.keys(others.tags).map(Number);
  const ways = Object.keys(others.ways);
  const pods = new Map<string, LocalPod>();
  for (let i = 0; i < Math.max(wanted.length, ways.length); i++) {
    const tag = wanted[Math.min(i, wanted.length - 1)];
    const text = tag === undefined ? undefined : texts.get(tag);
    if (tag === undefined || text === undefined) return undefined;
    const pod = remembered(tags, tag, text, ways[i]);
    pods.set(podKey(pod), pod);
  }
  return pods;
}
