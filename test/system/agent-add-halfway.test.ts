/** What an agent does with an ADD that died, with the agent before it, once its pod was judged and before it was opened. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { quarantine } from '../../lib/tag/tag.ts';
import { stateDir } from '../support/cni.ts';
import { KubeHost } from '../support/kube-host.ts';
import { until } from '../support/until.ts';

test('the next agent clears it away, and never opens its link', async () => {
  await using host = await KubeHost.startCluster();
  const first = await host.startAgent();
  const pod = await host.run({ name: 'web' });
  await host.killAgent(first);
  const record = host.host.files(stateDir).find(path => path.includes('/attachments/'))!;
  await host.host.sh(`printf '\\n{"phase":"adding"}\\n' >>${record}
    ip link set ${pod.link} group ${quarantine}`);
  using next = await host.startAgent();
  await until('the ADD to be cleared away', () => next.said(/^Cleared away default\/web: its ADD died halfway$/));
  assert.deepEqual(
    next.lines.filter(({ message }) => message.includes('changed the tags')),
    [],
  );
});
