/** No packet before the gate, where each call is a process. */
import { inWays } from '../support/way.ts';
import { noPacketBeforeGate } from './scenarios/gate-start.ts';

inWays(['alone'], noPacketBeforeGate);
