/** Two pods on a node of their own, and what stands between them. */
import { makePods, ours, Place, type Pod } from './cni.ts';

/** Stands where our table did, and knows nothing but established connections. */
export const conntrackOnly = `table inet bench {
  chain gate { type filter hook postrouting priority 99; policy accept; ct state established accept; }
}`;

/** As on any node with kube-proxy: the kernel's NAT looks at connections, and does nothing. */
export const idleNat = `table inet idle {
  chain before { type nat hook prerouting priority -100; policy accept; }
  chain after { type nat hook postrouting priority 100; policy accept; }
}`;

export interface TwoPods {
  /** Network namespaces. */
  readonly client: string;
  readonly server: string;
  /** Of the server. */
  readonly address: string;
}

interface Between {
  /** Without any the table is taken away. */
  readonly policies: string | undefined;
  /** Tables in place of ours, or beside it. */
  readonly others?: readonly string[];
  /** A new one unless given. */
  readonly place?: Place;
}

const addressIn = (result: string): string =>
  (JSON.parse(result) as { ips: [{ address: string }] }).ips[0].address.split('/')[0]!;

/** Both pods come through the plugin, and what the plugin made of the policies is what is measured. */
export function twoPods({ policies, others = [], place = new Place(ours()) }: Between): TwoPods {
  if (policies !== undefined) place.node.write('policies/all.json', policies);
  const named = (pod: Pod, app: string): Pod => ({ ...pod, namespace: 'bench', name: app, labels: { app } });
  const pods = makePods(2);
  const [server, client] = [named(pods[0]!, 'server'), named(pods[1]!, 'client')];
  const address = addressIn(place.add(server).stdout);
  place.add(client);
  if (policies === undefined)
    place.node.run({ command: '/usr/sbin/nft', args: ['delete', 'table', 'inet', 'tollgate'] });
  for (const input of others) place.node.run({ command: '/usr/sbin/nft', args: ['-f', '-'], input });
  // Closed connections are forgotten soon, or their number would grow with the measurement.
  place.node.sh('[ ! -e /proc/sys/net/netfilter ] || echo 1 >/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_close');
  return { client: client.netns, server: server.netns, address };
}
