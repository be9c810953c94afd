/** Pods that start while the agent is being replaced, called through launchers. */
import { callThrough } from '../support/way.ts';

callThrough('launcher');
await import('./agent-restart.test.ts');
