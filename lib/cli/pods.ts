import type { HostPort } from '../enforce/node.ts';
import { identityOf } from '../enforce/node.ts';
import { allLinks } from '../pod/interface.ts';
import { inventory, type PluggedIn } from '../pod/inventory.ts';
import { describeIdentity } from '../tag/identity.ts';
import { formatTag } from '../tag/tag.ts';
import { command, exit, print, printJson } from './command.ts';
import { grid, type Row } from './grid.ts';
import { liveOptions, openLive, warn } from './live.ts';

const formatHostPort = ({ hostIP, hostPort, containerPort, protocol }: HostPort): string =>
  `${hostIP === undefined ? '' : `${hostIP.includes(':') ? `[${hostIP}]` : hostIP}:`}${hostPort}->${containerPort}/${protocol}`;

const nameOf = ({ namespace, name }: PluggedIn): string =>
  namespace === undefined || name === undefined ? '-' : `${namespace}/${name}`;

/** As container tools show it. */
const shortly = (containerID: string): string => (containerID.length > 36 ? containerID.slice(0, 13) : containerID);

const identity = ({ pod }: PluggedIn): string => (pod ? describeIdentity(identityOf(pod)) : '-');

const tagOf = ({ link }: PluggedIn): number => link?.group ?? 0;

/** A contract with scripts: keys are only ever added. */
const jsonOf = (found: PluggedIn) => ({
  pod: found.namespace === undefined ? null : nameOf(found),
  namespace: found.namespace ?? null,
  name: found.name ?? null,
  network: found.network ?? null,
  containerID: found.containerID,
  ifname: found.ifname ?? null,
  standing: found.standing,
  why: found.why ?? null,
  interface: found.link?.name ?? found.pod?.link ?? null,
  tag: found.link ? { hex: formatTag(tagOf(found)), decimal: tagOf(found) } : null,
  labels: found.pod?.labels ?? {},
  namedPorts: found.pod?.namedPorts ?? [],
  addresses: found.addresses,
  hostPorts: found.pod?.hostPorts ?? [],
  netns: found.netns ?? null,
});

const heads = ['POD', 'NETWORK', 'CONTAINER', 'TAG', 'IDENTITY', 'ADDRESSES', 'STANDING'];
const wideHeads = [...heads, 'DECIMAL', 'INTERFACE', 'IFNAME', 'HOSTPORTS', 'NETNS'];

function rowOf(found: PluggedIn, isWide: boolean): Row {
  const { containerID, network = '-', addresses, standing, why, link, pod, ifname, netns } = found;
  const tag = link ? formatTag(link.group) : '-';
  const said = why === undefined ? standing : `${standing}: ${why}`;
  const row = [nameOf(found), network, shortly(containerID), tag, identity(found), addresses, said];
  if (!isWide) return row;
  const ports = pod?.hostPorts.map(formatHostPort) ?? [];
  return [...row, link ? String(link.group) : '-', link?.name ?? '-', ifname ?? '-', ports, netns ?? '-'];
}

/** A podless row last, else by name. */
const order = (a: PluggedIn, b: PluggedIn): number => {
  const [x, y] = [a, b].map(each => `${each.namespace === undefined ? 1 : 0}${nameOf(each)} ${each.containerID}`);
  return x! < y! ? -1 : 1;
};

export const pods = command(
  'pods',
  'List the pods that are plugged in, with their tags',
  parser =>
    parser
      .options({
        output: {
          alias: 'o',
          choices: ['text', 'wide', 'json'],
          default: 'text',
          describe: 'How to print it; wide adds interface, hostPorts and namespace',
        },
        ...liveOptions,
      })
      .example('$0 pods', 'what is plugged in on this node')
      .example('$0 pods -o wide', 'with decimal tags, interfaces and hostPorts')
      .example('$0 pods -o json', 'for scripts: a list, its keys are only ever added to')
      .epilog(
        'TAG is the interface group of the pod’s host-side link: `ip link show group 0x74670001` finds the links, and nft prints it in decimal.',
      ),
  options => {
    using live = openLive(options, warn);
    const links = allLinks(live.here.host);
    const state = live.here.hook.table.peek()?.state;
    const found = [...inventory(links, live.store, live.here, state)].sort(order);
    if (options.output === 'json') printJson(found.map(jsonOf));
    else if (found.length === 0) print('No pod is plugged in.');
    else {
      const isWide = options.output === 'wide';
      print(
        grid(
          isWide ? wideHeads : heads,
          found.map(each => rowOf(each, isWide)),
        ),
      );
    }
    return exit.yes;
  },
);
