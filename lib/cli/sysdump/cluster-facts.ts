/** Facts that a maintainer asks for from a cluster: the objects that concern us, and each agent's log and own archive. */
import { type AgentPod, type KubectlTarget, kubectl } from '../kubectl/kubectl.ts';
import type { Fact } from './node-facts.ts';
import { safeManifest } from './redact.ts';

export function clusterFacts(cluster: KubectlTarget, pods: readonly AgentPod[]): readonly Fact[] {
  const { namespace } = cluster;
  const text = (path: string, ...args: readonly string[]): Fact => ({ path, read: () => kubectl(cluster, args) });
  const objects = (kind: string): Fact => ({
    path: `cluster/${kind}.json`,
    read: async () => {
      const found: unknown = JSON.parse(
        (await kubectl(cluster, ['get', kind, '--all-namespaces', '--output=json'])).toString(),
      );
      return `${JSON.stringify(safeManifest(found), undefined, 2)}\n`;
    },
  });
  const ofPod = ({ name, node }: AgentPod): readonly Fact[] => {
    const log = ['--namespace', namespace, 'logs', name, '--container=agent', '--tail=20000'];
    const dump = [
      '--namespace',
      namespace,
      'exec',
      name,
      '--container=agent',
      '--',
      'tollgate',
      'sysdump',
      '--output=-',
    ];
    return [text(`nodes/${node}/agent.log`, ...log), text(`nodes/${node}/sysdump.tar.gz`, ...dump)];
  };
  return [
    text('cluster/version', 'version'),
    text('cluster/workload', '--namespace', namespace, 'get', 'daemonset,pods', '--output=wide'),
    ...['nodes', 'namespaces', 'networkpolicies'].map(objects),
    ...pods.flatMap(ofPod),
  ];
}
