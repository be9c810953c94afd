/** A worker understands a configuration once; what the node's ranges are may be another answer at each call. */
import { callThrough } from '../support/way.ts';

callThrough('worker');
await import('./node-ranges.test.ts');
