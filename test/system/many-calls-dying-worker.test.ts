/** Many calls at once where the worker is killed all the time, too. */
import { inWays } from '../support/way.ts';
import { manyCallsAtOnce } from './scenarios/many-calls.ts';

inWays(['dying worker'], manyCallsAtOnce);
