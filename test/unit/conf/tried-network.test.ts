/** The conflist by which `tollgate connectivity test` plugs its pods in. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { Network } from '../../../lib/cli/connectivity/network.ts';
import { scratchFolder } from '../../support/scratch.ts';

test('what is no plugin in a list of plugins is passed over', () => {
  const folder = scratchFolder();
  const own = { type: 'tollgate', runDir: '/run/other' };
  const list = { cniVersion: '1.0.0', name: 'odd', plugins: [null, 3, 'tollgate', own] };
  writeFileSync(join(folder, '10-odd.conflist'), JSON.stringify(list));
  const network = Network.find(folder, '/opt/cni/bin');
  assert.deepEqual([network.own, network.plugins], [own, [own]]);
});
