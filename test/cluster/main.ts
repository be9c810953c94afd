/** The proofs, one after another, on one cluster. Started by run.sh, in namespaces that end with it. */
import { after, before, beforeEach } from 'node:test';
import { access } from './access.ts';
import { apiWeather } from './api-weather.ts';
import { KubeCluster } from './cluster.ts';
import { conformance } from './conformance.ts';
import { connectivity } from './connectivity.ts';
import { crioNode } from './crio.ts';
import { daemonSet } from './daemonset.ts';
import { kubectlFlows } from './kubectl-flows.ts';
import { kubectlPlugin } from './kubectl-plugin.ts';
import { life } from './life.ts';
import { names } from './names.ts';
import { nodes } from './nodes.ts';
import { policies } from './policies.ts';
import { release } from './release.ts';
import { restarts } from './restarts.ts';
import { returns } from './returns.ts';
import { rolling } from './rolling.ts';
import { rollout } from './rollout.ts';
import { services } from './services.ts';
import { sessions } from './sessions.ts';
import { type Extent, suites } from './suites.ts';

// The first process of its namespace gets no signal that it does not ask for.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => process.exit(1));

let cluster: KubeCluster;
before(async () => {
  cluster = await KubeCluster.start({ flows: true });
  console.log(`cluster ready after ${Math.round(performance.now())} ms`);
});
after(() => cluster?.[Symbol.dispose]());

let proved = 0;
beforeEach(() => {
  proved++;
});
after(() => {
  if (proved > 0) return;
  console.error('test:cluster: no proof has a name that matches the pattern');
  process.exitCode = 1;
});

for (const proofs of [policies, life, restarts, nodes, daemonSet]) proofs(() => cluster);
const extent = (process.env['TOLLGATE_CLUSTER_SUITES'] ?? 'some') as Extent;
if (release.agent === 'pod') {
  for (const proofs of [kubectlPlugin, kubectlFlows, connectivity, rollout]) proofs(() => cluster);
}
if (release.hasServices) {
  for (const proofs of [names, access, sessions, apiWeather, crioNode, returns, rolling]) proofs(() => cluster);
  services(() => cluster, 'nftables');
  services(() => cluster, 'iptables');
  if (extent !== 'none') suites(() => cluster, extent);
  if (extent === 'all') conformance(() => cluster);
}
