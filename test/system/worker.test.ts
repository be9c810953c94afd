/** All that a worker promises to callers that are executables. */
import { inWays } from '../support/way.ts';
import { workerServes } from './scenarios/worker.ts';

inWays(['alone'], workerServes);
