/** Where a warm process serves, it finds out for itself what another program has done to the table. */
import { callThrough } from '../support/way.ts';

callThrough('worker');
await import('./gate-tampered.test.ts');
