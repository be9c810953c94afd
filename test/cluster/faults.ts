/** Ways in which a cluster's network breaks, and how it shows. */
import type { KubeCluster } from './cluster.ts';
import type { KubeNode } from './node.ts';

/** What scripts name: the second node, where the test's far pods are, and the first one, where those are that ask. */
export interface Ends {
  readonly cluster: KubeCluster;
  readonly near: KubeNode;
  readonly far: KubeNode;
  /** IPv4 address of the far pod that no policy selects. */
  readonly pod: string;
  /** IPv4 pod CIDR of the second node. */
  readonly range: string;
}

export interface Fault {
  readonly what: string;
  /** Once the pods are ready. */
  readonly breaks: (ends: Ends) => unknown;
  readonly mends: (ends: Ends) => unknown;
  /** By name, and families: no other checks fail, and of IPv4 some do. */
  readonly failed: RegExp;
  readonly families: readonly number[];
  readonly cause: RegExp;
}

const foreignDrop =
  'add table ip foreign; add chain ip foreign forward { type filter hook forward priority 0; }; add rule ip foreign forward drop';
/** In the mount namespace of the agent's container. */
const agent = 'pid=$(pgrep -o -f "^tollgate agent")';
/** A Service has endpoints on both nodes, and DNS one somewhere. */
const far = /between nodes|^a Service$|^a name of DNS$/;

export const faults: readonly Fault[] = [
  {
    what: 'another program drops what a node forwards',
    breaks: ({ far }) => far.host.sh(`nft '${foreignDrop}'`),
    mends: ({ far }) => far.host.sh('nft delete table ip foreign'),
    ...{ failed: far, families: [4] },
    cause: /node2: chain forward of table ip foreign drops forwarded packets/,
  },
  {
    what: 'the link to a node takes less than pods send',
    breaks: ({ cluster, far }) => cluster.control.narrow(far, 1400),
    mends: ({ cluster, far }) => cluster.control.narrow(far, 1500),
    // Routers of IPv6 that notice it tell the pods, which then send less.
    ...{ failed: /^full packets between nodes$/, families: [4, 6] },
    cause: /full ones do not \(1[234]\d\d bytes pass\): an MTU on the way is less .*the chart’s value `mtu`/,
  },
  {
    what: 'forwarding is off, and the agent cannot switch it on',
    breaks: ({ far }) =>
      far.host.sh(`${agent}; mount -N $pid --bind -o ro /proc/sys /proc/sys; echo 0 >/proc/sys/net/ipv4/ip_forward`),
    mends: ({ far }) => far.host.sh(`${agent}; umount -N $pid /proc/sys; kill -HUP $pid`),
    ...{ failed: far, families: [4] },
    cause:
      /node2: net\/ipv4\/ip_forward: is 0: .*node2: Cannot set net\/ipv4\/ip_forward to 1 \(it is 0\): \/proc\/sys is mounted read-only/,
  },
  {
    what: 'the route to a pod is missing',
    breaks: ({ far, pod }) => far.host.sh(`ip route del ${pod}`),
    mends: () => {},
    // The Service, and so its name, may lead to that pod.
    ...{ failed: /pod to pod between nodes|full packets between nodes|^a Service$|^a name of DNS$/, families: [4] },
    cause: /node2: tollgate-connectivity\/far-open: the route to [\d.]+ by \w+ is missing/,
  },
  {
    what: 'another program has the route to a node’s pods',
    breaks: ({ near, range }) => near.host.sh(`ip route add blackhole ${range} metric 10; ${agent}; kill -HUP $pid`),
    mends: ({ near, range }) => near.host.sh(`ip route del blackhole ${range} metric 10; ${agent}; kill -HUP $pid`),
    ...{ failed: far, families: [4] },
    cause: /node1: No route to pods of node node2, [\d./]+: another program has a route there .*which stays/,
  },
];

/** What a living agent puts right, so that no pod notices for long. */
interface Mended {
  readonly what: string;
  readonly breaks: (ends: Ends) => string;
  /** Succeeds once it is as it was. */
  readonly isWhole: (ends: Ends) => string;
  readonly told: RegExp;
}

export const mended: readonly Mended[] = [
  ...([4, 6] as const).map(family => {
    const key = family === 4 ? '/proc/sys/net/ipv4/ip_forward' : '/proc/sys/net/ipv6/conf/all/forwarding';
    return {
      what: `IPv${family} forwarding that is switched off`,
      breaks: () => `echo 0 >${key}`,
      isWhole: () => `grep -q 1 ${key}`,
      told: new RegExp(`Another program switched IPv${family} forwarding off: on again`),
    };
  }),
  {
    what: 'the route to another node’s pods',
    breaks: ({ range }) => `ip route del ${range} proto 116`,
    isWhole: ({ range }) => `ip route show proto 116 | grep -q '^${range} via'`,
    told: /Another program removed routes of ours: made again.*10\.244\./,
  },
];
