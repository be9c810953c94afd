/** No packet before the gate where launchers hand calls to a worker, and launchers are killed in mid-ADD. */
import { callThrough } from '../support/way.ts';

callThrough('worker');
await import('./gate-start.test.ts');
await import('./gate-kill.test.ts');
