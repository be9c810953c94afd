/** The proofs, one after another, on one cluster. Started by run.sh, in namespaces that end with it. */
import { after, before } from 'node:test';
import { KubeCluster } from './cluster.ts';
import { daemonSet } from './daemonset.ts';
import { life } from './life.ts';
import { nodes } from './nodes.ts';
import { policies } from './policies.ts';
import { restarts } from './restarts.ts';

// The first process of its namespace gets no signal that it does not ask for.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => process.exit(1));

let cluster: KubeCluster;
before(async () => {
  cluster = await KubeCluster.start();
  console.log(`cluster ready after ${Math.round(performance.now())} ms`);
});
after(() => cluster?.[Symbol.dispose]());

for (const proofs of [policies, life, restarts, nodes, daemonSet]) proofs(() => cluster);
