/** All that a worker promises to callers that are launchers. */
import { inWays } from '../support/way.ts';
import { workerServes } from './scenarios/worker.ts';

inWays(['launcher'], workerServes);
