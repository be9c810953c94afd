/**
 * CHECK: is what ADD made still there? Extra things that later plugins in the list added are theirs; what we made must be
 * as it was. All that differs is said in one error.
 */
import { CniError, codes } from '../cni/error.ts';
import { builtinIpam } from '../cni/ipam.ts';
import type { AttachmentRequest } from '../cni/request.ts';
import type { Ip, Result, ResultRoute } from '../cni/result.ts';
import { forwarding } from '../enforce/probe.ts';
import { type LocalPod, podKey } from '../gate/node-state.ts';
import { type Address, type Family, formatAddress, formatPrefix, networkOf, parseAddress } from '../ip/address.ts';
import { dumpAddresses, linkAddressOf } from '../kernel/address.ts';
import { getLink, type Link, linkOf } from '../kernel/link.ts';
import { type Exchange, must, mustExcept } from '../kernel/message.ts';
import { NetlinkSocket } from '../kernel/netlink.ts';
import { inNetns } from '../kernel/netns.ts';
import { findSysctl } from '../kernel/sysctl.ts';
import type { Attachment } from '../state/attachment.ts';
import { holds } from '../state/claims.ts';
import { describeTag, formatTag } from '../tag/tag.ts';
import { openTarget } from './add.ts';
import { findAttachment } from './attachment.ts';
import type { Context } from './context.ts';
import { delegateVerb } from './delegate.ts';
import { allRoutes, hostEndDeviations, type Inside, isRouted, podEndDeviations, type VethPair } from './ends.ts';
import { readFacts } from './facts.ts';
import { delegationOf } from './ipam.ts';
import { hostEnd, lookUpIn } from './own-link.ts';
import { pairOf } from './pair.ts';

function checkMac(wanted: string | undefined, link: Link): string[] {
  if (wanted === undefined || wanted.toLowerCase() === link.mac) return [];
  return [`${link.name} has MAC ${link.mac}, the result says ${wanted}`];
}

function checkAddresses(pod: Exchange, ifindex: number, ifname: string, ips: readonly Ip[]): string[] {
  const found = must(pod([dumpAddresses({ ifindex })]))
    .flat()
    .map(linkAddressOf);
  const has = (address: Address) =>
    found.some(have => have && have.ifindex === ifindex && formatAddress(have) === formatAddress(address));
  return ips
    .filter(({ address }) => !has(address))
    .map(({ address }) => `${ifname} lacks address ${formatAddress(address)}`);
}

function checkRoutes(pod: Exchange, ifindex: number, routes: readonly ResultRoute[]): string[] {
  const found = allRoutes(pod);
  return routes
    .filter(({ dst, gw, table }) => {
      const wanted = { destination: dst, ...(gw ? { gateway: gw } : {}), ...(table === undefined ? {} : { table }) };
      return !isRouted(found, ifindex, wanted);
    })
    .map(({ dst }) => `the container lacks its route to ${formatPrefix(networkOf(dst))}`);
}

/** Compares the pair with what ADD made, but for what the result says: a later plugin may have changed the MAC. */
function checkPair(pod: Exchange, inside: Inside, link: Link, { made, ...pair }: VethPair): string[] {
  const known = made && { ...made, podMac: link.mac ?? made.podMac };
  return podEndDeviations(pod, inside, link, { ...pair, ...(known ? { made: known } : {}) }).map(({ what }) => what);
}

/** Compares the container's interface with what the result says of it. */
function checkInside(
  request: AttachmentRequest,
  result: Result,
  pair: VethPair | undefined,
  context: Context,
): string[] {
  using netns = openTarget(request, context);
  const index = result.interfaces.findIndex(
    ({ name, sandbox }) => name === request.ifname && sandbox === request.netns,
  );
  if (index < 0) return [`the result names no interface ${request.ifname} in ${request.netns}`];
  using socket = inNetns(netns, () => NetlinkSocket.open('route'));
  const [reply] = mustExcept(socket.exchange([getLink({ name: request.ifname })]), 'ENODEV').flat();
  if (!reply) return [`there is no interface ${request.ifname} in ${request.netns}`];
  const link = linkOf(reply);
  const kind = link.kind === 'veth' ? [] : [`${link.name} is ${link.kind ?? 'a device'}, not a veth`];
  const ips = result.ips.filter(ip => ip.interface === undefined || ip.interface === index);
  return [
    ...kind,
    ...(link.up ? [] : [`${link.name} is down`]),
    ...checkMac(result.interfaces[index]!.mac, link),
    ...checkAddresses(socket.exchange, link.ifindex, request.ifname, ips),
    ...checkRoutes(socket.exchange, link.ifindex, result.routes),
    ...(pair ? checkPair(socket.exchange, work => inNetns(netns, work), link, pair) : []),
  ];
}

function checkTag(link: Link, pod: LocalPod): string[] {
  if (link.group === pod.tag) return [];
  return [`${link.name} is tagged ${describeTag(link.group)}, its identity is ${formatTag(pod.tag)}`];
}

/** ADD switched it on; without it a pod reaches its node at most. */
const forwardingOff = (families: readonly Family[]): string[] =>
  [...new Set(families)].flatMap(family => {
    const value = findSysctl(forwarding[family]);
    return value === undefined || value === '1' ? [] : [`net/${forwarding[family]} is ${value}`];
  });

/** @param pair absent where another plugin made it */
function checkOutside(pod: LocalPod, result: Result, pair: VethPair | undefined, context: Context): string[] {
  const link = hostEnd(lookUpIn(context.host), pod);
  if (!link) return [`the node's end ${pod.link} is gone`];
  const said = result.interfaces.find(({ name, sandbox }) => name === link.name && !sandbox);
  return [
    ...checkTag(link, pod),
    ...(pair
      ? hostEndDeviations(context.host, link, pair).map(({ what }) => what)
      : [...checkMac(said?.mac, link), ...(link.up ? [] : [`${link.name} is down`])]),
    ...(pair ? forwardingOff(pair.addresses.map(({ family }) => family)) : []),
  ];
}

function checkClaims(attachment: Attachment, isBuiltin: boolean): string[] {
  if (!isBuiltin) return [];
  const { addresses = [] } = attachment.facts;
  return addresses
    .filter(text => !holds(attachment, parseAddress(text)!))
    .map(text => `${text} is no longer reserved for it`);
}

/** @throws CniError code 104 with all that differs; a delegate's error as it is */
export async function check(request: AttachmentRequest, context: Context): Promise<void> {
  using attachment = await findAttachment(request, 'CHECK', context);
  const { config } = request;
  const facts = attachment && readFacts(attachment.facts);
  const isBuiltin = facts?.kind === 'veth' && config.ipam?.type === builtinIpam;
  const judged = facts?.pod && context.hook.find(podKey(facts.pod));
  const pair = facts?.pod && facts.kind === 'veth' ? pairOf(facts.pod, facts) : undefined;
  const wrong =
    attachment?.facts.phase === 'ready' && facts?.pod
      ? [
          ...checkInside(request, config.prevResult!, pair, context),
          ...checkOutside(judged ?? facts.pod, config.prevResult!, pair, context),
          ...checkClaims(attachment, isBuiltin),
          ...(judged ? await context.hook.differences(judged) : ['the table does not know the pod']),
        ]
      : [`nothing is known of ${request.ifname} of container ${request.containerID} in network ${config.name}`];
  if (wrong.length > 0)
    throw new CniError(
      codes.checkMismatch,
      `Cannot vouch for ${request.ifname} of ${request.containerID}: ${[...new Set(wrong)].join('; ')}`,
      '`tollgate verify` shows what differs on this node; DEL and ADD make it anew',
    );
  // With this call's configuration: CHECK is about the prevResult, which that of ADD did not have.
  if (facts?.delegate && config.ipam?.type === facts.delegate.type)
    await delegateVerb(delegationOf(config, 'CHECK', context, request.path));
}
