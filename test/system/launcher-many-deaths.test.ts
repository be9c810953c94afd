/** The same with a worker that is killed all the time, too. */
import { callThrough } from '../support/way.ts';

callThrough('dying worker');
await import('./plugin-many.test.ts');
