/** Many calls at once, and calls that are killed, where each call is a process. */
import { inWays } from '../support/way.ts';
import { manyCallsAtOnce } from './scenarios/many-calls.ts';

inWays(['alone'], manyCallsAtOnce);
