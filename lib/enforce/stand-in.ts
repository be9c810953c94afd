/**
 * One pod that comes or goes changes what it brings, whoever else is there: the same two tables with fewer pods in them
 * have the same difference, as long as each identity and each way of masquerading still has somebody. So how many pods have
 * which is kept, and where somebody is wanted, one stands in who has nothing else.
 */

import { type LocalPod, type NodeState, podKey } from '../gate/node-state.ts';
import { identityIn } from '../tag/identity.ts';
import type { PodsChange } from './roster.ts';
import { isMasquerade } from './written.ts';

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
export function counted(counts: PodCounts, before: NodeState['pods'], { came, went }: PodsChange): PodCounts {
  const gone = [...went, ...came.map(([key]) => key)].flatMap(key => before[key] ?? []);
  const left = gone.reduce((now, pod) => withOne(now, pod, -1), counts);
  return came.reduce((now, [, pod]) => withOne(now, pod, 1), left);
}

/** What somebody has besides these. */
const left = (counts: Readonly<Record<string, number>>, taken: readonly string[]): readonly string[] =>
  Object.keys(counts).filter(key => counts[key]! > taken.filter(each => each === key).length);

/** @throws SyntaxError where it is none of ours */
function wayIn(text: string): NonNullable<LocalPod['masquerade']> {
  const way: unknown = JSON.parse(text);
  if (!isMasquerade(way)) throw new SyntaxError(`Cannot read a way of masquerading: ${text}`);
  return way;
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
    ...(way ? { masquerade: wayIn(way) } : {}),
    hostPorts: [],
    tag,
  };
};

/** Of the same tags, those that were made before: from call to call they mostly are the same. */
const made = new WeakMap<NodeState['tags'], Map<string, ReadonlyMap<string, LocalPod> | undefined>>();

/** For all pods but these: one of each identity, and of each way of masquerading; undefined where one's tag is unknown. */
export function standIns(
  tags: NodeState['tags'],
  counts: PodCounts,
  but: readonly LocalPod[],
): ReadonlyMap<string, LocalPod> | undefined {
  const wanted = left(
    counts.tags,
    but.map(({ tag }) => String(tag)),
  );
  const ways = left(counts.ways, but.map(wayOf));
  const known = made.get(tags) ?? new Map<string, ReadonlyMap<string, LocalPod> | undefined>();
  made.set(tags, known);
  const key = [...wanted, ...ways].join(' ');
  if (!known.has(key)) {
    if (known.size >= MOST_MADE) known.clear();
    known.set(key, make(tags, wanted.map(Number), ways));
  }
  return known.get(key);
}

/** Few are in use at a time: everybody but one of a kind, or everybody. */
const MOST_MADE = 16;

function make(
  tags: NodeState['tags'],
  wanted: readonly number[],
  ways: readonly string[],
): ReadonlyMap<string, LocalPod> | undefined {
  const texts = new Map(Object.entries(tags).map(([text, tag]) => [tag, text]));
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
