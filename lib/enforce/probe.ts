/** Finds what a node lacks, or what stands in our way on it, before a pod suffers from it, and says what to do. */
import { accessSync, constants, readFileSync } from 'node:fs';
import { desiredTable, TABLE, TABLE_NAME } from '../gate/desired.ts';
import { boundPorts, formatHostPort } from '../gate/host-ports.ts';
import { emptyNode, type NodeState } from '../gate/node-state.ts';
import type { Address, Family } from '../ip/address.ts';
import type { Link } from '../kernel/link.ts';
import { isErrno } from '../kernel/message.ts';
import type { Nft } from '../kernel/nft.ts';
import { findSysctl } from '../kernel/sysctl.ts';
import { type BaseChain, drops } from '../nft/foreign.ts';
import { createTable } from '../nft/transaction.ts';
import { formatTag, isOurs } from '../tag/tag.ts';

/**
 * `broken`: no pod can be plugged in. `blocked`: pods can be, but something keeps their packets or calls. `note`: worth knowing.
 */
export type LackSeverity = 'broken' | 'blocked' | 'note';

export interface Lack {
  readonly severity: LackSeverity;
  readonly what: string;
  /** A line to type, or what else to do. */
  readonly fix?: string;
}

const leastKernel = [5, 15] as const;

const running = (): string => readFileSync('/proc/sys/kernel/osrelease', 'latin1').trim();

export function probeKernel(version = running()): Lack[] {
  const [major = 0, minor = 0] = version.split('.').map(part => Number.parseInt(part, 10));
  const isEnough = major > leastKernel[0] || (major === leastKernel[0] && minor >= leastKernel[1]);
  if (isEnough) return [];
  const what = `Linux ${version} is too old: tollgate needs ${leastKernel.join('.')} or later`;
  return [{ severity: 'broken', what, fix: 'install a newer kernel' }];
}

/** The largest static table there is: whatever a configuration asks for is in it. */
function sampleTable() {
  const owner = { enforcer: 'inline', stateDir: '/', policies: '/' };
  const settings = { judge: 'inline', nflogGroup: 7467, enforceEgressToNode: true } as const;
  const state = emptyNode(owner, settings);
  return { ...desiredTable({ ...state, counts: { ...state.counts, mapped: 1 } }, 1), name: 'tollgate-probe' };
}

/** Whether nftables can be spoken to at all. */
export function probeNftables(open: () => Nft): Lack[] {
  try {
    using nft = open();
    nft.baseChains();
    return [];
  } catch (error) {
    const isForbidden = isErrno(error, 'EPERM', 'EACCES');
    const said = error instanceof Error ? error.message : String(error);
    const fix = isForbidden ? 'run this as root' : 'load or build the kernel’s nf_tables';
    return [{ severity: 'broken', what: `nftables cannot be used: ${said}`, fix }];
  }
}

/** Whether the kernel would take our table: nothing is committed. */
export function probeGate(nft: Nft): Lack[] {
  const refusals = nft.wouldRefuse(createTable(sampleTable()));
  const [first] = refusals;
  if (!first) return [];
  const more = refusals.length > 1 ? ` (and ${refusals.length - 1} more)` : '';
  const what = `nftables refuses the gate's table: ${first.object}: ${first.kernelText ?? first.code}${more}`;
  const fix = 'load or build the kernel’s nf_tables, nft_fib_inet, nft_ct, nft_nat, nft_masq and nft_log';
  return [{ severity: 'broken', what, fix }];
}

/** An `nft flush ruleset` of another program opens every gate, unless a process holds the table. */
export function probeOwnership(nft: Nft): Lack[] {
  if (nft.tableState(TABLE_NAME)?.isOwned) return [];
  const { persist } = nft.probeTableFlags();
  const held = persist
    ? 'while no agent holds the table'
    : 'since this kernel knows no table owner that persists (6.9)';
  const what = `\`nft flush ruleset\`, which a reload of nftables.service does, opens every gate ${held}`;
  return [{ severity: 'note', what, fix: 'run `tollgate verify --repair` after it' }];
}

export const forwarding: Readonly<Record<Family, string>> = { 4: 'ipv4/ip_forward', 6: 'ipv6/conf/all/forwarding' };

/** ADD switches forwarding on; where /proc/sys is read-only, as in a container, the node's admin must. */
export function probeForwarding(families: Iterable<Family>): Lack[] {
  return [...families].flatMap((family): Lack[] => {
    const key = forwarding[family];
    const value = findSysctl(key);
    if (value === undefined || value === '1') return [];
    const what = `IPv${family} forwarding is off (net/${key} is ${value})`;
    try {
      accessSync(`/proc/sys/net/${key}`, constants.W_OK);
      return [{ severity: 'note', what, fix: `plugging an IPv${family} pod in switches it on` }];
    } catch {
      return [
        { severity: 'broken', what, fix: `and it cannot be written here: sysctl -w net.${key.replaceAll('/', '.')}=1` },
      ];
    }
  });
}

/** Setting that each new link takes over. */
const ipv6Off = 'ipv6/conf/default/disable_ipv6';
const otherwise = 'or leave IPv6 ranges out of the configuration';

/** Why no pod can have an IPv6 address here: IPv6 is switched off for new links, or this kernel has none. */
export function probeIpv6(severity: LackSeverity): Lack[] {
  const value = findSysctl(ipv6Off);
  if (value === '0') return [];
  if (value === undefined) {
    const fix = `take ipv6.disable=1 off the kernel's command line and restart, ${otherwise}`;
    return [{ severity, what: 'this kernel has no IPv6 (no /proc/sys/net/ipv6/conf)', fix }];
  }
  const what = `IPv6 is switched off on this node (net.ipv6.conf.default.disable_ipv6 is ${value})`;
  const keys = ['all', 'default'].map(where => `net.ipv6.conf.${where}.disable_ipv6=0`);
  return [{ severity, what, fix: `sysctl -w ${keys.join(' ')}, and the same in /etc/sysctl.d; ${otherwise}` }];
}

/** Sysctls that, set for all links, override the setting of a pod's link, and what the kernel then does. */
const learning = {
  arp_accept: 'learns each neighbour that any ARP message speaks of',
  proxy_arp: 'learns each sender of ARP',
};

/** Settings of the admin's, for all links, by which a pod that may send ARP can fill the node's neighbour table. */
export const probeNeighbours = (): Lack[] =>
  Object.entries(learning).flatMap(([name, does]): Lack[] => {
    const value = findSysctl(`ipv4/conf/all/${name}`);
    if (value === undefined || value === '0') return [];
    const what = `net.ipv4.conf.all.${name} is ${value}: the kernel ${does}, from pods too, which can fill its neighbour table`;
    return [{ severity: 'note', what, fix: `set net.ipv4.conf.all.${name}=0, and 1 on the links alone that need it` }];
  });

/** hostPorts that lead nowhere now, since the node does not have the address that they are bound to: a floating one, say. */
export const probeHostPorts = (state: Pick<NodeState, 'pods'>, isLocal: (address: Address) => boolean): Lack[] =>
  boundPorts(state)
    .filter(({ address }) => !isLocal(address))
    .map(({ pod: { namespace, name }, mapping }) => ({
      severity: 'note',
      what: `hostPort ${formatHostPort(mapping)} of pod ${namespace}/${name} leads nowhere: ${mapping.hostIP} is no address of this node now`,
      fix: 'nothing, where the address comes to this node later: the hostPort answers from then on; else map it to an address that the node has',
    }));

/** Any name that ours might have will do. */
const ourName = 'tgaaaaaaaaaaaaa';
const directions = [
  { match: 'iifname', flag: '-i', packet: { iifname: ourName, oifname: 'elsewhere' } },
  { match: 'oifname', flag: '-o', packet: { iifname: 'elsewhere', oifname: ourName } },
] as const;

/** The command that lets the packets pass, for the tool that made the chain: firewalld, iptables or nft. */
function lineFor({ family, table, name }: BaseChain, chains: ReadonlySet<string>, isOut: boolean): string {
  const { match, flag } = directions[isOut ? 0 : 1];
  if (table === 'firewalld')
    return 'firewall-cmd --permanent --zone=trusted --add-interface=tg+ && firewall-cmd --reload';
  if (family === 'inet' || table !== 'filter' || name !== 'FORWARD')
    return `nft insert rule ${family} ${table} ${name} ${match} '"tg*"' accept`;
  const chain = chains.has(`${family} ${table} DOCKER-USER`) ? 'DOCKER-USER' : 'FORWARD';
  return `${family === 'ip' ? 'iptables' : 'ip6tables'} -I ${chain} ${flag} tg+ -j ACCEPT`;
}

/** Base chains of others that drop what our gate accepts: an accept of ours cannot undo that. */
export function probeForeignChains(nft: Nft): Lack[] {
  const bases = nft
    .baseChains()
    .filter(({ table, base }) => table !== TABLE && base.hook === 'forward' && base.type === 'filter');
  if (bases.length === 0) return [];
  const chains = new Set(nft.chainNames().map(({ family, table, name }) => `${family} ${table} ${name}`));
  return bases.flatMap(base => {
    const dropped = directions.filter(({ packet }) =>
      drops(base, chain => nft.readRules({ family: base.family, name: base.table }, chain), packet),
    );
    if (dropped.length === 0) return [];
    const lines = dropped.map(({ match }) => lineFor(base, chains, match === 'iifname'));
    const where = `chain ${base.name} of table ${base.family} ${base.table}`;
    const who = dropped.map(({ match }) => (match === 'iifname' ? 'from' : 'to')).join(' and ');
    const what = `${where} drops forwarded packets ${who} pods, and no rule of ours can undo that`;
    return [{ severity: 'blocked' as const, what, fix: [...new Set(lines)].join(' && ') }];
  });
}

/** Rules that iptables-legacy made are seen by no netlink: only that there are some is known. */
export function probeLegacyTables(): Lack[] {
  return (['ip', 'ip6'] as const).flatMap((family): Lack[] => {
    const program = family === 'ip' ? 'iptables-legacy' : 'ip6tables-legacy';
    try {
      if (!readFileSync(`/proc/net/${family}_tables_names`, 'utf8').split('\n').includes('filter')) return [];
    } catch (error) {
      if (isErrno(error, 'ENOENT', 'EACCES', 'EPERM')) return [];
      throw error;
    }
    const what = `${program} has a filter table in force, whose FORWARD chain may drop pods' packets`;
    const fix = `look with ${program} -S FORWARD; if it drops: ${program} -I FORWARD -i tg+ -j ACCEPT && ${program} -I FORWARD -o tg+ -j ACCEPT`;
    return [{ severity: 'note', what, fix }];
  });
}

/** @param isOwn whether a link has our name or our alias */
export function probeForeignTags(links: readonly Link[], isOwn: (link: Link) => boolean): Lack[] {
  return links
    .filter(link => isOurs(link.group) && !isOwn(link))
    .map(({ name, group }) => ({
      severity: 'blocked',
      what: `${name} has interface group ${formatTag(group)}, which is in our range, but it is not ours: the gate judges its packets`,
      fix: `ip link set ${name} group default`,
    }));
}
