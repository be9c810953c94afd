/** No packet before the gate where the worker is killed all the time, too. */
import { inWays } from '../support/way.ts';
import { killedAtAnyInstant } from './scenarios/gate-kill.ts';
import { noPacketBeforeGate } from './scenarios/gate-start.ts';

inWays(['dying worker'], way => {
  noPacketBeforeGate(way);
  killedAtAnyInstant(way);
});
