/** Addresses for a pod: from our own pools, or from another IPAM plugin by the rules of delegation. */
import { readFileSync, statSync } from 'node:fs';
import type { Config } from '../cni/config.ts';
import { CniError, codes, messageOf } from '../cni/error.ts';
import { builtinIpam, type RangeSetSpec } from '../cni/ipam.ts';
import { type AttachmentRequest, requestedIps, type Verb } from '../cni/request.ts';
import type { Result } from '../cni/result.ts';
import { type CniVersion, newestVersion } from '../cni/version.ts';
import { type Address, formatAddress, formatPrefix, networkOf, type Prefix } from '../ip/address.ts';
import type { PoolPlan, RangeSources } from '../ipam/config.ts';
import { AddressRefused } from '../ipam/error.ts';
import type { Exchange } from '../kernel/message.ts';
import { readSeenBy } from '../kernel/mount-namespace.ts';
import type { Attachment } from '../state/attachment.ts';
import { release } from '../state/claims.ts';
import { reserve } from '../state/disk-claims.ts';
import { parseAlias } from '../tag/alias.ts';
import type { Context } from './context.ts';
import { type Delegation, delegateAdd, delegateVerb, findDelegate } from './delegate.ts';
import { readFacts, writeFacts } from './facts.ts';
import { findLink, findRoutedAway, isLinkLocal, linkRoutedTo } from './links.ts';
import type { PodLayout } from './plan.ts';

/** A released address rests this long while others are free: peers may still have connections to its last owner. */
const MINIMUM_REST = 60_000;

/** This node's range sets, as the agent wrote them. @throws CniError with code `unknown` where it has not */
async function nodeRangeSets({ runDir }: Config, unknown: number): Promise<readonly RangeSetSpec[]> {
  const { rangeSetsOf } = await import('../ipam/node-ranges.ts');
  const { findNodeRanges, nodeRangesPath } = await import('../state/node-ranges.ts');
  const found = findNodeRanges(runDir);
  if (found) return rangeSetsOf(found);
  throw new CniError(
    unknown,
    `Cannot tell this node's address ranges: ${nodeRangesPath(runDir)} names none`,
    'the agent writes it when the Kubernetes API has told it the node\'s pod CIDRs; without an agent, name them in "ipam.ranges"',
  );
}

interface Planning {
  readonly covers?: RangeSources['covers'];
  /** Code of the error where the node's ranges are needed and the agent has not written them yet. */
  readonly unknown?: number;
}

const namesRanges = ({ ipam, runtime }: Config): boolean =>
  runtime.rangeSets.length + (ipam?.rangeSets ?? []).length > 0;

/** Loaded where pools are needed: DEL, CHECK and every call with a delegated IPAM do without. */
const planOf = (config: Config): Promise<PoolPlan> => planWith(config, {});

async function planWith(config: Config, { covers, unknown = codes.tryAgainLater }: Planning): Promise<PoolPlan> {
  const { ipam, runtime, cniVersion } = config;
  const { planPools } = await import('../ipam/config.ts');
  const given = {
    runtime: runtime.rangeSets,
    config: ipam?.rangeSets ?? [],
    cniVersion,
    ...(covers ? { covers } : {}),
  };
  return planPools(namesRanges(config) ? given : { ...given, node: await nodeRangeSets(config, unknown) });
}

/** The plan for STATUS, which no pod waits for: what ranges cover is worked out by the package `ip-cidr`. */
export async function checkedPlanOf(config: Config): Promise<PoolPlan> {
  const { cidrRange } = await import('../ipam/cidr.ts');
  return await planWith(config, { covers: cidrRange, unknown: codes.notAvailable });
}

/** A call of the IPAM plugin that the configuration names. */
export const delegationOf = (config: Config, verb: Verb, context: Context, path: readonly string[]): Delegation => ({
  call: { type: config.ipam!.type, verb, cniVersion: config.cniVersion },
  ...{ env: context.env, path, stdin: config.text, log: context.log },
});

/** @throws Error where it is no regular file, whose end might never come */
function readRegular(path: string): string {
  if (!statSync(path).isFile()) throw new Error('no regular file');
  return readFileSync(path, 'utf8');
}

/** @throws CniError code 5 where the file that the config names cannot be read */
async function resolvConf(path: string, caller: number | undefined): Promise<Result['dns']> {
  const { parseResolvConf } = await import('../ipam/resolv-conf.ts');
  try {
    return parseResolvConf(caller === undefined ? readRegular(path) : readSeenBy(caller, path));
  } catch (error) {
    const said = messageOf(error);
    throw new CniError(codes.ioFailure, `Cannot read ipam.resolvConf ${path}: ${said}`);
  }
}

/**
 * The part of a call's context that reserving needs: its log for warnings, and the
 * node's routes, which tell of addresses in use.
 */
export type Reserver = Pick<Context, 'log' | 'host' | 'caller'>;

/** The link that an address leads to, with the name of its pod where it is one of ours: a pod of another network, say. */
function explainRoute(host: Exchange, address: Address): string {
  const ifindex = linkRoutedTo(host, address);
  const link = ifindex === undefined ? undefined : findLink(host, { ifindex });
  if (!link) return 'it is in use on this node';
  const { namespace, pod, shortID } = parseAlias(link.alias ?? '') ?? {};
  const user = pod === undefined ? '' : `, the interface of pod ${namespace}/${pod} (container ${shortID})`;
  return `this node routes it to ${link.name}${user}`;
}

const isRouted = (host: Exchange, address: Address): boolean => linkRoutedTo(host, address) !== undefined;

/**
 * An address that another plugin gave may be another pod's, or the node's own, of which that plugin knows nothing.
 * @throws AddressRefused
 */
export function refuseRouted({ ips }: Result, { host }: Pick<Context, 'host'>): void {
  const routed = ips.find(({ address }) => isRouted(host, address));
  if (routed) throw new AddressRefused(formatAddress(routed.address), explainRoute(host, routed.address));
}

/**
 * The node's end of a pod gets its gateway, and the node takes what is sent there from then on: never a running pod's address,
 * which a gateway may be since the configuration was edited.
 * @throws CniError code 7
 */
export function refuseTakenGateways({ addresses }: PodLayout, { host }: Pick<Context, 'host'>): void {
  const gateways = new Map(addresses.map(({ gateway }) => [formatAddress(gateway), gateway]));
  const taken = findRoutedAway(
    host,
    [...gateways.values()].filter(gateway => !isLinkLocal(gateway)),
  );
  if (taken)
    throw new CniError(
      codes.invalidConfig,
      `Cannot use ${formatAddress(taken)} as the gateway of pods: ${explainRoute(host, taken)}`,
      'name another "gateway", or delete that pod first',
    );
}

/** Reserves addresses in our own pools. @throws PoolExhausted, AddressRefused, IpamConfigError, StateError */
export async function reserveBuiltin(
  request: AttachmentRequest,
  attachment: Attachment,
  context: Reserver,
): Promise<Result> {
  const { ipam } = request.config;
  const { pools, warnings } = await planOf(request.config);
  for (const warning of warnings) context.log(warning);
  const dns = ipam?.resolvConf === undefined ? undefined : await resolvConf(ipam.resolvConf, context.caller);
  const reservation = {
    pools,
    requested: requestedIps(request),
    minimumRest: MINIMUM_REST,
    isBusy: (address: Address) => isRouted(context.host, address),
    explainBusy: (address: Address) => `${explainRoute(context.host, address)}, but no pod of this network has it`,
  };
  const allotments = reserve(attachment, reservation, facts => {
    const { pod } = readFacts(facts);
    return pod && `${pod.namespace}/${pod.name}`;
  });
  return {
    interfaces: [],
    ips: allotments.map(({ address, subnet, gateway }) => ({
      address: { ...address, length: subnet.length },
      gateway,
    })),
    routes: ipam?.routes ?? [],
    ...(dns ? { dns } : {}),
  };
}

/** Notes the delegate before it runs, so that a call that finds the record can undo what it did. */
async function reserveDelegated(request: AttachmentRequest, attachment: Attachment, context: Context): Promise<Result> {
  const { config, path } = request;
  // Before anything is noted: what does not exist cannot be asked to undo anything either.
  findDelegate(config.ipam!.type, path);
  attachment.append(writeFacts({ delegate: { type: config.ipam!.type, stdin: config.text } }));
  const result = await delegateAdd({ ...delegationOf(config, 'ADD', context, path), signal: context.signal });
  attachment.append({ addresses: result.ips.map(({ address }) => formatPrefix(address).split('/')[0]!) });
  return result;
}

/** @throws CniError where the config has no IPAM: a routed veth without an address would be of no use */
export async function reserveAddresses(
  request: AttachmentRequest,
  attachment: Attachment,
  context: Context,
): Promise<Result> {
  const { ipam } = request.config;
  if (!ipam)
    throw new CniError(
      codes.invalidConfig,
      `Missing key "ipam": expected {"type": "${builtinIpam}", "ranges": [[{"subnet": "10.88.0.0/16"}]]} or another IPAM plugin`,
    );
  return ipam.type === builtinIpam
    ? await reserveBuiltin(request, attachment, context)
    : await reserveDelegated(request, attachment, context);
}

/**
 * Gives everything back.
 * @param delegate the IPAM plugin that gave the addresses, with the configuration that it was called with
 * @throws CniError where the delegate refuses: its address is still taken then
 */
export async function releaseAddresses(
  attachment: Attachment,
  delegate: { readonly type: string; readonly stdin: string } | undefined,
  { env, log }: Context,
  {
    path,
    cniVersion = newestVersion,
  }: { readonly path: readonly string[]; readonly cniVersion: CniVersion | undefined },
): Promise<void> {
  if (delegate)
    await delegateVerb({
      call: { type: delegate.type, verb: 'DEL', cniVersion },
      env,
      path,
      stdin: delegate.stdin,
      log,
    });
  release(attachment);
}

export interface Masquerade {
  readonly from: readonly string[];
  readonly except: readonly string[];
}

const texts = (prefixes: readonly Prefix[]): string[] => [
  ...new Set(prefixes.map(prefix => formatPrefix(networkOf(prefix)))),
];

/** Packets that `ipMasq` masquerades: those from the pods' subnets, except to the pod ranges themselves. */
export async function masqueradeOf(config: Config, ipam: Result): Promise<Masquerade | undefined> {
  if (!config.ipMasq) return undefined;
  const own = ipam.ips.map(({ address }) => address);
  const ranges =
    config.ipam?.type === builtinIpam
      ? (await planOf(config)).pools.flatMap(pool => pool.ranges.map(({ subnet }) => subnet))
      : own;
  return { from: texts(own), except: texts(config.nonMasqueradeCIDRs ?? ranges) };
}
