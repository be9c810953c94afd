/** Files are lost under a warm process that keeps in mind what it wrote: tags stay apart as they do for processes of one call. */
import { callThrough } from '../support/way.ts';

callThrough('worker');
await import('./state-lost.test.ts');
