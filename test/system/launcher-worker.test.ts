/** All that a worker promises, to whoever calls through launchers. */
import { callThrough } from '../support/way.ts';

callThrough('launcher');
await import('./agent-worker.test.ts');
await import('./agent-link-reaper.test.ts');
