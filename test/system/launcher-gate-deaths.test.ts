/** The same with a worker that is killed all the time, too. */
import { callThrough } from '../support/way.ts';

callThrough('dying worker');
await import('./gate-start.test.ts');
await import('./gate-kill.test.ts');
