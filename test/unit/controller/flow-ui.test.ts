/** Who may ask the page's server. */
import assert from 'node:assert/strict';
import { chmodSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { serveUi } from '../../../lib/controller/flow-ui.ts';
import { scratchFolder } from '../../support/scratch.ts';

test('the token outlives the agent, and one that others may have read is made anew', async () => {
  const token = join(scratchFolder('ui'), 'flows.token');
  const linked = async (): Promise<string> => {
    using ui = await serveUi({ host: '127.0.0.1', port: 0, page: '<html></html>', token }, {});
    return ui.url.split('#')[1]!;
  };
  const first = await linked();
  assert.equal(await linked(), first);
  chmodSync(token, 0o644);
  assert.notEqual(await linked(), first);
  assert.equal(statSync(token).mode & 0o777, 0o600);
});
