/** How long a change takes until packets meet it. */
import { until } from '../support/until.ts';
import type { Pod } from './api.ts';
import type { KubeCluster } from './cluster.ts';
import { Knocking } from './traffic.ts';

/** From one packet to the next, in milliseconds: what is found is that much too long at most. */
const INTERVAL = 1;
/** A packet that nothing comes back of for so long was refused, in milliseconds: a refused one is not answered at all. */
const PATIENCE = 200;
/** So many packets of one fate after each other: the change is in force. */
const STEADY = 20;

/** New flows without an end, by which a change shows. */
export const knockingAt = (cluster: KubeCluster, from: Pod, to: Pod): Knocking =>
  new Knocking(cluster, from, to, { interval: INTERVAL, patience: PATIENCE });

/** From the write to the first packet of the new fate, by when it was sent; milliseconds. @throws Error after `deadline` (ms) */
export async function delayOf(
  knocking: Knocking,
  isAllowed: boolean,
  write: () => Promise<void>,
  deadline?: number,
): Promise<number> {
  const known = knocking.count;
  const written = performance.timeOrigin + performance.now();
  await write();
  const found = () => {
    const since = knocking.knocks(known).filter(({ sent }) => sent >= written);
    const at = since.findIndex((_, i) => {
      const next = since.slice(i, i + STEADY);
      return next.length === STEADY && next.every(({ isEchoed }) => isEchoed === isAllowed);
    });
    return at < 0 ? undefined : since[at]!.sent - written;
  };
  return await until('the change to be in force', found, deadline);
}
