/**
 * The matrix of which pod may reach which by the present policies, for the page of flows. However many pods there are and however
 * often it is asked for, a matrix has a bounded number of pods and is made no more than once in a while, in slices.
 */
import type { FlowScene } from '../flows/attribution.ts';
import { parsePodFilter } from '../flows/filter.ts';
import { monotonic } from '../kernel/monotonic.ts';
import type { Cluster } from '../policy/evaluate/cluster.ts';
import type { Traffic } from '../policy/evaluate/matrix-judge.ts';
import { MatrixPacking, type ShownMatrix } from '../policy/evaluate/matrix-packed.ts';
import { StagedMatrix } from '../policy/evaluate/matrix-staged.ts';
import { worldAround } from '../policy/evaluate/world-around.ts';
import type { Pod } from '../policy/model/model.ts';
import { Slices } from './slices.ts';

/** Pods of one matrix: 40,000 pairs. */
const MOST_PODS = 200;
/** Matrices that are kept, for other ports and other filters. */
const MOST_KEPT = 4;
/** Milliseconds for which a matrix is good enough, whatever has changed since. */
const FRESH = 2_000;

export interface MatrixQuery {
  readonly traffic: Traffic;
  /** A filter of flows, of which the words count that tell pods apart. */
  readonly filter: string;
}

interface Kept {
  readonly scene: FlowScene;
  readonly at: number;
  readonly shown: Promise<{ readonly version: number; readonly text: string }>;
}

const nameOf = ({ namespace, name }: Pod): string => `${namespace}/${name}`;

/** The pods that the filter selects, this node's before all others, as many as a matrix has; and how many there are. */
function chosen(cluster: Cluster, filter: string): { readonly pods: readonly Pod[]; readonly count: number } {
  const isWanted = parsePodFilter(filter);
  const [own, others]: [Pod[], Pod[]] = [[], []];
  let count = 0;
  for (const pod of cluster.members()) {
    if (!isWanted(pod)) continue;
    count++;
    const list = pod.local === true ? own : others;
    if (list.length < MOST_PODS) list.push(pod);
  }
  const pods = [...own, ...others].slice(0, MOST_PODS).sort((a, b) => (nameOf(a) < nameOf(b) ? -1 : 1));
  return { pods, count };
}

export class MatrixNow {
  readonly #scene: () => FlowScene;
  readonly #now: () => number;
  readonly #kept = new Map<string, Kept>();
  /** Those of the agent before this one were others. */
  #versions = Date.now();

  /** @param now milliseconds of a clock that only rises */
  constructor(scene: () => FlowScene, now: () => number = monotonic) {
    this.#scene = scene;
    this.#now = now;
  }

  /**
   * @param known the version that the reader has: it is not sent again
   * @returns `ShownMatrix` as JSON; of a version that is known, the number alone
   * @throws FilterError
   */
  async textOf(query: MatrixQuery, known: number): Promise<string> {
    const { version, text } = await this.#current(query);
    return version === known ? JSON.stringify({ version }) : text;
  }

  #current({ traffic, filter }: MatrixQuery): Kept['shown'] {
    const key = JSON.stringify([traffic.protocol, traffic.port, filter]);
    const before = this.#kept.get(key);
    const scene = this.#scene();
    if (before && (before.scene === scene || this.#now() - before.at < FRESH)) return before.shown;
    const shown = this.#made(scene, { traffic, filter }, before?.shown);
    this.#kept.delete(key);
    this.#kept.set(key, { scene, at: this.#now(), shown });
    shown.catch(() => this.#kept.delete(key));
    const [oldest] = this.#kept.keys();
    if (this.#kept.size > MOST_KEPT && oldest !== undefined) this.#kept.delete(oldest);
    return shown;
  }

  async #made(scene: FlowScene, { traffic, filter }: MatrixQuery, before: Kept['shown'] | undefined): Kept['shown'] {
    const { pods, count } = chosen(scene.cluster, filter);
    const { enforceEgressToNode, staged } = scene;
    const world = { ...worldAround(scene.cluster, pods), ...(staged ? { staged: staged.staged } : {}) };
    const pairs = new StagedMatrix(world, traffic, { enforceEgressToNode });
    const packing = new MatrixPacking(pairs);
    const slices = new Slices();
    for (const pair of pairs) {
      packing.add(pair);
      if (slices.isOver) await slices.rest();
    }
    const last = await before;
    const textWith = (version: number): string =>
      JSON.stringify({ version, count, matrix: packing.packed } satisfies ShownMatrix);
    if (last && last.text === textWith(last.version)) return last;
    const version = ++this.#versions;
    return { version, text: textWith(version) };
  }
}
