/** What the agent pays to know, before it opens a pod in a table that it does not own, that what judges the pod is in force. */
import { KnownTable } from '../../../lib/enforce/known-table.ts';
import { withPod } from '../../../lib/gate/node-state.ts';
import { numberedPod, settings, UnownedTable } from '../../support/unowned-table.ts';
import type { LoadGroup } from '../load-report.ts';

const [rounds, looks] = [30, 100];
const [few, many] = [1, 1000];

/** Milliseconds of processor time, kernel included: of the quietest round, since whatever disturbs one only adds to it. */
async function costOf(pods: number): Promise<number> {
  using room = new UnownedTable();
  const numbers = Array.from({ length: pods - 1 }, (_, i) => i + 2);
  await room.table.bring(state =>
    numbers.reduce((now, number) => withPod(now, numberedPod(number), () => false).state, state),
  );
  const pod = await room.open(1);
  const known = new KnownTable(() => room.nft);
  known.learn(room.nft.generation(), 1, room.rules.ruleset());
  // Else the kernel's generation alone would tell.
  room.disturb();
  const times = Array.from({ length: rounds }, () => {
    const start = process.cpuUsage();
    for (let i = 0; i < looks; i++)
      if (!known.isInForce(settings, [pod]))
        throw new Error('Cannot measure the look: the table is not what it should be');
    const { user, system } = process.cpuUsage(start);
    return (user + system) / 1000 / looks;
  });
  return Math.min(...times);
}

export const group: LoadGroup = async say => {
  say(`a node with ${few} pod`);
  const one = await costOf(few);
  say(`a node with ${many} pods`);
  const all = await costOf(many);
  const what = 'whether what judges a pod is in force, after another program’s commit';
  return [
    { what: `${what}: ${few} pod`, asked: { atMost: 0.3 }, figure: one, unit: 'ms of the processor' },
    { what: `${what}: ${many} pods`, asked: { atMost: 0.3 }, figure: all, unit: 'ms of the processor' },
    { what: `${what}: ${many} pods`, asked: { atMost: 1.2 }, figure: all / one, unit: `× ${few} pod` },
  ];
};
