/** No packet before the gate where launchers hand calls to a worker, and launchers are killed in mid-ADD. */
import { inWays } from '../support/way.ts';
import { killedAtAnyInstant } from './scenarios/gate-kill.ts';
import { noPacketBeforeGate } from './scenarios/gate-start.ts';

inWays(['worker'], way => {
  noPacketBeforeGate(way);
  killedAtAnyInstant(way);
});
