/** SIGKILL at any instant, where each call is a process. */
import { inWays } from '../support/way.ts';
import { killedAtAnyInstant } from './scenarios/gate-kill.ts';

inWays(['alone'], killedAtAnyInstant);
