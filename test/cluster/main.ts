/** The proofs, one after another, on one cluster. Started by run.sh, in namespaces that end with it. */
import { after, before, test } from 'node:test';
import { KubeCluster } from './cluster.ts';

// The first process of its namespace gets no signal that it does not ask for.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => process.exit(1));

let cluster: KubeCluster;
before(async () => {
  cluster = await KubeCluster.start();
  console.log(`cluster ready after ${Math.round(performance.now())} ms`);
});
after(() => cluster?.[Symbol.dispose]());

test('pods reach each other', async () => {
  await cluster.api.apply({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'a' } });
  const [a, b] = await cluster.runAll([{ namespace: 'a', name: 'a' }, { namespace: 'a', name: 'b' }]);
  console.log(a!.status.podIP, b!.status.podIP, await cluster.reaches(a!, b!), performance.now());
});
