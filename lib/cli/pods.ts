import { type HostPort, identityOf } from '../gate/node-state.ts';
import { inventory, type PluggedIn } from '../pod/inventory.ts';
import { allLinks } from '../pod/links.ts';
import type { Direction } from '../policy/model/model.ts';
import { describeIdentity } from '../tag/identity.ts';
import { formatTag } from '../tag/tag.ts';
import { type GridRow, grid } from './columns.ts';
import { command, exit, print, printJson, warn } from './command.ts';
import { countedJson, countOfTag, type IdentityCount, type KernelCounts, readCounts } from './kernel-counts.ts';
import { liveOptions, openLive } from './live-node.ts';

const formatMapping = ({ hostIP, hostPort, containerPort, protocol }: HostPort): string =>
  `${hostIP === undefined ? '' : `${hostIP.includes(':') ? `[${hostIP}]` : hostIP}:`}${hostPort}->${containerPort}/${protocol}`;

const nameOf = ({ namespace, name }: PluggedIn): string =>
  namespace === undefined || name === undefined ? '-' : `${namespace}/${name}`;

/** A container's id, shortened as container tools show it. */
const shortly = (containerID: string): string => (containerID.length > 36 ? containerID.slice(0, 13) : containerID);

const identity = ({ pod }: PluggedIn): string => (pod ? describeIdentity(identityOf(pod)) : '-');

const tagOf = ({ link }: PluggedIn): number => link?.group ?? 0;

type CountOf = (found: PluggedIn, direction: Direction) => IdentityCount | undefined;

/** Finds the counts of a pod by the identity in its link's group. */
const countsIn =
  (counts: KernelCounts): CountOf =>
  ({ link }, direction) =>
    link && countOfTag(counts, direction, link.group);

const countJson = (count: IdentityCount | undefined) =>
  count
    ? {
        tried: countedJson(count.tried),
        denied: count.denied ? { ...countedJson(count.denied), identities: count.denied.identities } : null,
      }
    : null;

/** `17 tried, 3 denied`; `3 denied of 2 identities` where others are judged by the same chain. */
function countText(count: IdentityCount | undefined): string {
  if (!count) return '-';
  const { tried, denied } = count;
  if (!denied) return `${tried.packets} tried`;
  const shared = denied.identities > 1 ? ` of ${denied.identities} identities` : '';
  return `${tried.packets} tried, ${denied.packets} denied${shared}`;
}

/** A contract with scripts: keys are only ever added. */
const jsonOf = (found: PluggedIn, countOf: CountOf) => ({
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
  ingress: countJson(countOf(found, 'ingress')),
  egress: countJson(countOf(found, 'egress')),
});

const heads = ['POD', 'NETWORK', 'CONTAINER', 'TAG', 'IDENTITY', 'ADDRESSES', 'STANDING'];
const wideHeads = [...heads, 'DECIMAL', 'INTERFACE', 'IFNAME', 'HOSTPORTS', 'NETNS', 'INGRESS', 'EGRESS'];

function rowOf(found: PluggedIn): GridRow {
  const { containerID, network = '-', addresses, standing, why, link } = found;
  const tag = link ? formatTag(link.group) : '-';
  const said = why === undefined ? standing : `${standing}: ${why}`;
  return [nameOf(found), network, shortly(containerID), tag, identity(found), addresses, said];
}

function wideRowOf(found: PluggedIn, countOf: CountOf): GridRow {
  const { link, pod, ifname, netns } = found;
  const ports = pod?.hostPorts.map(formatMapping) ?? [];
  const counts = [countText(countOf(found, 'ingress')), countText(countOf(found, 'egress'))];
  const wide = [link ? String(link.group) : '-', link?.name ?? '-', ifname ?? '-', ports, netns ?? '-', ...counts];
  return [...rowOf(found), ...wide];
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
          describe: 'How to print it; wide adds interface, hostPorts, namespace and counters',
        },
        ...liveOptions,
      })
      .example('$0 pods', 'what is plugged in on this node')
      .example('$0 pods -o wide', 'with decimal tags, interfaces, hostPorts and counters')
      .example('$0 pods -o json', 'for scripts: a list, its keys are only ever added to')
      .epilog(
        'TAG is the interface group of the pod’s host-side link: `ip link show group 0x74670001` finds the links, and nft prints it in decimal. INGRESS and EGRESS count packets that began something, since replies pass before: those that pods of this identity opened, or that were opened to them, for as long as it is here, and those that its rules denied since they last changed; identities with the same rules are denied together.',
      ),
  options => {
    using live = openLive(options, warn);
    const links = allLinks(live.here.host);
    const state = live.here.hook.table.store.read()?.state;
    const found = [...inventory(links, live.store, live.here, state)].sort(order);
    const counts = options.output === 'text' ? () => undefined : countsIn(readCounts());
    if (options.output === 'json') printJson(found.map(each => jsonOf(each, counts)));
    else if (found.length === 0) print('No pod is plugged in.');
    else {
      const isWide = options.output === 'wide';
      print(
        grid(
          isWide ? wideHeads : heads,
          found.map(each => (isWide ? wideRowOf(each, counts) : rowOf(each))),
        ),
      );
    }
    return exit.yes;
  },
);
