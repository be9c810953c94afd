/** Many calls at once through launchers and a worker, and launchers that are killed. */
import { callThrough } from '../support/way.ts';

callThrough('worker');
await import('./plugin-many.test.ts');
