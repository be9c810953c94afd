/** Snapshots of a host, so that before and after can be compared. */
import assert from 'node:assert/strict';
import { runDir, stateDir } from './cni.ts';
import type { Host } from './host.ts';
import { until } from './until.ts';

interface IpLink {
  readonly ifname: string;
  readonly ifalias?: string;
  readonly group?: string;
  readonly mtu: number;
  readonly master?: string;
  readonly address: string;
  readonly link_netnsid?: number;
}

export interface Link {
  readonly name: string;
  readonly alias: string | undefined;
  readonly group: number;
  readonly mtu: number;
  readonly master: string | undefined;
  readonly mac: string;
}

export const links = async (host: Host, netns?: string): Promise<Link[]> =>
  linksIn(await host.must(['ip', '-d', '-j', 'link'], netns === undefined ? {} : { netns }));

function linksIn(json: string): Link[] {
  return (JSON.parse(json) as IpLink[])
    .map(link => ({
      name: link.ifname,
      alias: link.ifalias,
      group: groupNumber(link.group),
      mtu: link.mtu,
      master: link.master,
      mac: link.address,
    }))
    .sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** `ip` prints a group by its name where /etc/iproute2/group has one: only `default` here; numbers in decimal. */
const groupNumber = (group: string | undefined) => (group === undefined || group === 'default' ? 0 : Number(group));

export const quarantine = 0x74670000;
export const condemned = 0x7467ffff;
/** The group of links that a worker deletes later; they are closed. */
export const deleting = 0x7467fffe;
/** Whether a group is one of tollgate's. */
export const isTag = (group: number): boolean => group >>> 16 === quarantine >>> 16;

/** The links on the host that carry a tag. */
export const tagged = async (host: Host): Promise<Link[]> =>
  (await links(host)).filter(link => isTag(link.group) && link.group !== deleting);

export interface Snapshot {
  readonly links: readonly Link[];
  readonly addresses: string;
  readonly routes: string;
  readonly neighbours: string;
  readonly rules: string;
  readonly files: readonly string[];
}

/** Files that say nothing of any pod: locks, stamps, when an address was last used, and which one a pool gave last. */
const isHousekeeping = (file: string): boolean =>
  /\/(released|last)\/[^/]+$|\/cleaned$|\.lock$|\/cni\.sock[^/]*$/.test(file);

/** Files that a worker writes whenever it rests, as long as there is a record that they go with. */
const isBesideARecord = (file: string, all: readonly string[]): boolean =>
  /\.(sets|rules|judging)$/.test(file) && all.includes(file.replace(/[^.]+$/, 'node'));

/** Prints what nft lists, without the set of markers: each batch makes one anew, and they gather as long as batches only add. */
export const listed = (what: string): string => `nft -s list ${what} | sed '/^\tset marker {/,/^$/d'`;
/** The same in text that nft has printed. */
const markers = /^\tset marker \{[\s\S]*?^\n/gm;

const isDeleting = ({ group }: Link): boolean => group === deleting;

/** All that a pod could leave on a host, once no link is on its way out. */
export const snapshot = (host: Host): Promise<Snapshot> =>
  until('links in the deleting group to be gone', async () => {
    const found = await look(host);
    return found.links.some(isDeleting) ? undefined : found;
  });

const commands = [
  'ip -d -j link',
  'ip -o addr',
  'ip -4 route show table all; ip -6 route show table all',
  'ip neigh show nud permanent',
  'nft -s list ruleset',
];

/** Here, where it takes no process. */
const sorted = (text: string): string => text.split('\n').sort().join('\n');

async function look(host: Host): Promise<Snapshot> {
  const said = await host.sh(commands.join('; echo ====; '));
  const [found = '', addresses = '', routes = '', neighbours = '', rules = ''] = said.split('====\n');
  const all = [...host.files(stateDir), ...host.files(runDir)];
  return {
    links: linksIn(found),
    addresses: addresses.replaceAll(/^\d+: |valid_lft.*/gm, ''),
    routes: sorted(routes.replaceAll(/ expires [^ \n]*/g, '')),
    neighbours: sorted(neighbours),
    rules: rules.replaceAll(markers, ''),
    files: all.filter(file => !isHousekeeping(file) && !isBesideARecord(file, all)),
  };
}

/** Asserts that the host has neither more nor less on it than before. */
export async function assertNothingLeft(host: Host, before: Snapshot, what = 'after DEL'): Promise<void> {
  assert.deepEqual(await snapshot(host), before, `something is left, or gone, ${what}`);
}
