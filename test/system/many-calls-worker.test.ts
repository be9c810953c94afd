/** Many calls at once through launchers and a worker, and launchers that are killed. */
import { inWays } from '../support/way.ts';
import { manyCallsAtOnce } from './scenarios/many-calls.ts';

inWays(['worker'], manyCallsAtOnce);
