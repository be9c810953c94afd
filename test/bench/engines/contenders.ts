/** Who enforces policy, each on a node of its own in one cluster: same kernel, kubelet, containerd and kube-proxy. */
import { nodePlace } from '../../cluster/addresses.ts';
import type { KubeCluster } from '../../cluster/cluster.ts';
import { Daemon } from '../../cluster/daemon.ts';
import type { KubeNode } from '../../cluster/node.ts';

/** Folder of the peers' programs, as build.sh made it. */
const peers = process.env['TOLLGATE_BENCH_ENGINES']!;

export interface Contender {
  readonly name: string;
  readonly node: KubeNode;
  /** Of the engine's own process; undefined where there is no engine. */
  readonly pid: () => number | undefined;
  /** Pods of this node are judged. */
  readonly isEngine: boolean;
}

/** Plugged in by the reference plugin ptp, as all of the others are but tollgate's own. */
async function ptpNode(cluster: KubeCluster, number: number): Promise<KubeNode> {
  return await cluster.addNode('ptp', { name: `node${number}`, place: nodePlace(10 * number) });
}

async function kubeRouter(cluster: KubeCluster): Promise<Contender> {
  const node = await ptpNode(cluster, 4);
  node.host.write('/run/engine.conf', cluster.control.kubeconfig('admin'));
  const command = [
    `${peers}/kube-router`,
    ...['--kubeconfig=/run/engine.conf', `--hostname-override=${node.name}`, '--enable-cni=false'],
    // Of its three parts the one that enforces policy; kube-proxy is there, and each node has its routes.
    ...['--run-firewall=true', '--run-router=false', '--run-service-proxy=false'],
  ];
  const engine = new Daemon({ name: 'kube-router', command, host: node.host }).start();
  await engine.until('has its chains', async () => {
    const { stdout } = await node.host.run(['iptables-save', '-t', 'filter']);
    return stdout.includes('KUBE-ROUTER-FORWARD');
  });
  return { name: 'kube-router', node, pid: () => engine.pid, isEngine: true };
}

/** Why kube-network-policies does not run here; undefined where it would. */
export async function lacksQueue({ host }: KubeNode): Promise<string | undefined> {
  const { exit, stderr } = await host.run(['nft', '-c', '-f', '-'], {
    input: 'table inet q { chain c { type filter hook forward priority 0; queue num 100; }; }',
  });
  return exit === 0 ? undefined : /Error: ([^;\n]*)/.exec(stderr)?.[1];
}

export async function contenders(cluster: KubeCluster): Promise<readonly Contender[]> {
  const none: Contender = {
    name: 'no engine (ptp)',
    node: await ptpNode(cluster, 3),
    pid: () => undefined,
    isEngine: false,
  };
  const { node } = cluster;
  const own: Contender = { name: 'tollgate', node, pid: () => node.agent.pid, isEngine: true };
  return [none, own, await kubeRouter(cluster)];
}
