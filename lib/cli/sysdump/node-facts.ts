/** Facts that a maintainer asks for from a node, each as one file of the archive. */

import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { findNode } from '../../enforce/found.ts';
import { TABLE_NAME } from '../../gate/desired.ts';
import { formatAddress, formatPrefix } from '../../ip/address.ts';
import { NetlinkSocket } from '../../kernel/netlink.ts';
import { currentNetns } from '../../kernel/netns.ts';
import { Nft } from '../../kernel/nft.ts';
import { readSysctl } from '../../kernel/sysctl.ts';
import { formatTable } from '../../nft/text.ts';
import { mainRoutes } from '../../node/routes.ts';
import { DiskNodeStore } from '../../nodestore/disk-store.ts';
import { allLinks } from '../../pod/links.ts';
import { confFilesIn, readForeign } from '../../state/conf-folder.ts';
import { askAgent } from '../ask-agent.ts';
import { readFiles } from '../policy/manifests.ts';
import { runOwn, runProgram } from '../program.ts';
import { safeConfig, safeManifest } from './redact.ts';

export interface Fact {
  /** Within the archive. */
  readonly path: string;
  /** @throws Error where it cannot be known; undefined where this node has no such thing */
  readonly read: () => Promise<Buffer | string | undefined> | Buffer | string | undefined;
}

export interface NodePlaces {
  readonly runDir: string;
  readonly confDir: string;
  /** Undefined: as the node's table says, else as usual. */
  readonly stateDir: string | undefined;
  readonly policies: string | undefined;
}

/** Milliseconds: what hangs costs one file and not the archive. */
const TIMEOUT = 60_000;
const USUAL_POLICIES = '/etc/tollgate/policies';
/** Bytes of a log: the end of it. */
const LONGEST_LOG = 4 << 20;

const json = (value: unknown): string => `${JSON.stringify(value, undefined, 2)}\n`;

/** One of our own commands, with its exit code: what it says is a fact, whatever it came to. */
const own = (name: string, args: readonly string[]): Fact => ({
  path: `tollgate/${name}`,
  read: async () => {
    const { exit, stdout, stderr } = await runOwn(args, { timeout: TIMEOUT });
    return `$ tollgate ${args.join(' ')}\n${stdout.toString()}${stderr}exit code ${exit ?? 'none: it was killed'}\n`;
  },
});

/** A program of the node, where it is there. */
const tool = (path: string, file: string, ...args: readonly string[]): Fact => ({
  path,
  read: async () => {
    try {
      const { stdout, stderr } = await runProgram(file, args, { timeout: TIMEOUT });
      return stdout.length === 0 ? stderr : stdout.subarray(-LONGEST_LOG);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw error;
    }
  },
});

const file = (path: string): Fact => ({
  path: `node${path}`,
  read: () => (existsSync(path) ? readFileSync(path) : undefined),
});

/** Also where the image has no iproute2. */
function kernelView(): string {
  using socket = NetlinkSocket.open('route');
  const routes = mainRoutes(socket.exchange).map(({ destination, gateway, oif, metric, protocol, type }) => ({
    ...{ oif, metric, protocol, type },
    destination: formatPrefix(destination),
    ...(gateway ? { gateway: formatAddress(gateway) } : {}),
  }));
  return json({ links: allLinks(socket.exchange), routes });
}

function ownTable(): string | undefined {
  using nft = Nft.open();
  const found = nft.read(TABLE_NAME);
  return found && formatTable(found.table);
}

const sysctls = [
  ...['ipv4/ip_forward', 'ipv4/conf/all/rp_filter', 'ipv4/conf/all/arp_accept', 'ipv4/conf/all/proxy_arp'],
  ...['ipv6/conf/all/forwarding', 'ipv6/conf/all/disable_ipv6', 'ipv6/conf/default/disable_ipv6'],
  ...['netfilter/nf_conntrack_count', 'netfilter/nf_conntrack_max', 'netfilter/nf_conntrack_acct'],
  ...['bridge/bridge-nf-call-iptables', 'bridge/bridge-nf-call-ip6tables', 'ipv4/neigh/default/gc_thresh3'],
];

function sysctlLines(): string {
  return sysctls
    .map(key => {
      try {
        return `net/${key} = ${readSysctl(key)}\n`;
      } catch {
        return `net/${key}: not there\n`;
      }
    })
    .join('');
}

/** As runtimes read them. */
function configurations(confDir: string): string | undefined {
  if (!existsSync(confDir)) return undefined;
  return json(
    confFilesIn(confDir).map(({ file: name }) => {
      try {
        return { file: name, value: safeConfig(JSON.parse(readForeign(join(confDir, name)))) };
      } catch (error) {
        return { file: name, unreadable: error instanceof Error ? error.message : String(error) };
      }
    }),
  );
}

function folderManifests(policies: string): string | undefined {
  if (!existsSync(policies)) return undefined;
  const { documents, problems } = readFiles([policies]);
  const items = documents.map(({ file: name, document, value }) => ({
    file: name,
    document,
    value: safeManifest(value),
  }));
  return json({
    problems,
    documents: items.map(item => ({ ...item, value: item.value ?? '(of another kind: left out)' })),
  });
}

const agentManifests = async (runDir: string): Promise<string> =>
  json(safeManifest(await askAgent<unknown>(runDir, 'GET', '/manifests')));

const isAgentThere = (runDir: string): boolean => existsSync(join(runDir, 'agent.sock'));

/** The folder that the node's pods are judged by. */
function policiesFolder({ runDir, policies }: NodePlaces): string {
  try {
    return policies ?? findNode(new DiskNodeStore(runDir, currentNetns()))?.owner.policies ?? USUAL_POLICIES;
  } catch {
    return USUAL_POLICIES;
  }
}

export function nodeFacts(places: NodePlaces): readonly Fact[] {
  const { runDir, stateDir, policies, confDir } = places;
  const live = [
    ...['--run-dir', runDir],
    ...(stateDir === undefined ? [] : ['--state-dir', stateDir]),
    ...(policies === undefined ? [] : ['--policies', policies]),
  ];
  return [
    own('version', ['version', '-o', 'json']),
    own('status', ['status', '--run-dir', runDir, '-o', 'json']),
    own('verify', ['verify', ...live, '-o', 'json']),
    own('pods', ['pods', ...live, '-o', 'json']),
    own('policies', ['policy', 'list', ...live, '-o', 'json']),
    { path: 'tollgate/table.nft', read: ownTable },
    { path: 'tollgate/links-and-routes.json', read: kernelView },
    { path: 'tollgate/manifests-of-folder.json', read: () => folderManifests(policiesFolder(places)) },
    {
      path: 'tollgate/manifests-of-agent.json',
      read: () => (isAgentThere(runDir) ? agentManifests(runDir) : undefined),
    },
    { path: 'node/networks.json', read: () => configurations(confDir) },
    { path: 'node/sysctls', read: sysctlLines },
    ...['/etc/os-release', '/proc/version', '/proc/loadavg', '/proc/meminfo'].map(file),
    tool('node/links.json', 'ip', '-details', '-statistics', '-json', 'link'),
    tool('node/addresses.json', 'ip', '-json', 'address'),
    tool('node/routes-ipv4.json', 'ip', '-4', '-json', 'route', 'show', 'table', 'all'),
    tool('node/routes-ipv6.json', 'ip', '-6', '-json', 'route', 'show', 'table', 'all'),
    tool('node/rules-ipv4.json', 'ip', '-4', '-json', 'rule'),
    tool('node/rules-ipv6.json', 'ip', '-6', '-json', 'rule'),
    tool('node/neighbours.json', 'ip', '-json', 'neighbour'),
    tool('node/ruleset.nft', 'nft', 'list', 'ruleset'),
    tool('node/conntrack', 'conntrack', '--stats'),
    tool('node/services', 'systemctl', 'status', '--no-pager', 'tollgate-agent.service', 'tollgate-agent.socket'),
    tool('logs/agent', 'journalctl', '--no-pager', '--lines=20000', '--unit=tollgate-agent.service'),
    tool('logs/kernel', 'journalctl', '--no-pager', '--lines=2000', '--dmesg'),
  ];
}
