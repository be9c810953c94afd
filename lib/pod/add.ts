/**
 * ADD: plug in, closed; judge; then open. Whoever dies in between leaves a closed pod and a record that DEL, GC or the
 * next ADD clears; whatever fails is undone before the error is returned.
 */
import { CniError, codes } from '../cni/error.ts';
import { givenLabels, podNameOf } from '../cni/labels.ts';
import { type AttachmentRequest, requestedMac } from '../cni/request.ts';
import type { Result } from '../cni/result.ts';
import { type HostPort, type LocalPod, labelled } from '../enforce/node.ts';
import { formatAddress } from '../ip/address.ts';
import { PoolExhausted } from '../ipam/error.ts';
import type { Link } from '../kernel/link.ts';
import { Netns, sameNetns } from '../kernel/netns.ts';
import type { Attachment } from '../state/attachment.ts';
import { formatAlias, parseAlias, shortID } from '../tag/alias.ts';
import { hostInterfaceName, linkMac } from '../tag/link-name.ts';
import { beginAttachment } from './attachment.ts';
import type { Context } from './context.ts';
import { clearDead } from './dead.ts';
import { writeFacts } from './facts.ts';
import { forgetStaleHostPorts } from './flows.ts';
import { defaultMtu, findLink, isThere, NameTaken, type PodInterface, plugIn, tagLink } from './interface.ts';
import { type Masquerade, masqueradeOf, reserveAddresses } from './ipam.ts';
import { type Layout, layout, resultOf } from './plan.ts';
import { unplug } from './unplug.ts';

/** @throws NetnsError, CniError code 8 where it is the node's own */
export function openTarget(request: AttachmentRequest, context: Context): Netns {
  const target = Netns.open(request.netns);
  if (request.netnsOverride || !sameNetns(target.identity, context.here)) return target;
  target[Symbol.dispose]();
  throw new CniError(
    codes.invalidNetns,
    `Cannot plug ${request.ifname} into ${request.netns}: it is the network namespace of the node itself`,
    'set CNI_NETNS_OVERRIDE=true if that is meant',
  );
}

export const hostPortsOf = ({ config }: AttachmentRequest): HostPort[] =>
  config.runtime.portMappings.map(({ hostPort, containerPort, protocol, hostIP }) => ({
    hostPort,
    containerPort,
    protocol,
    ...(hostIP ? { hostIP: formatAddress(hostIP) } : {}),
  }));

/** What the table is to know of the pod; all but its tag, which the judge gives. */
export function describePod(
  request: AttachmentRequest,
  link: string,
  addresses: readonly string[],
  masquerade: Masquerade | undefined,
  context: Context,
): Omit<LocalPod, 'tag'> {
  const { config, containerID, ifname } = request;
  const { namespace, name } = podNameOf(request);
  const manifest = context.hook.manifestOf(namespace, name);
  const given = givenLabels(config);
  return {
    ...labelled(
      { given: { config: Object.fromEntries(given.config), call: Object.fromEntries(given.call) } },
      manifest,
    ),
    network: config.name,
    containerID,
    ifname,
    link,
    namespace,
    name,
    ...(request.args.podUid === undefined ? {} : { uid: request.args.podUid }),
    addresses,
    ...(masquerade ? { masquerade } : {}),
    hostPorts: hostPortsOf(request),
  };
}

const isLoopbackPort = ({ hostIP }: HostPort): boolean => hostIP === undefined || /^(127\.|0\.0\.0\.0$)/.test(hostIP);

function interfaceOf(request: AttachmentRequest, planned: Layout, context: Context): PodInterface {
  const { config, containerID, ifname } = request;
  const key = { network: config.name, containerID, ifname };
  const ports = hostPortsOf(request);
  return {
    hostName: hostNameOf(request),
    hostMac: linkMac(key, 'host'),
    ifname,
    podMac: requestedMac(request) ?? linkMac(key, 'pod'),
    mtu: config.mtu ?? defaultMtu(context.host),
    alias: formatAlias({ ...nameOf(request), containerID }),
    layout: planned,
    routeLocalnet: ports.some(isLoopbackPort),
  };
}

function nameOf(request: AttachmentRequest): { namespace: string; pod: string } {
  const { namespace, name } = podNameOf(request);
  return { namespace, pod: name };
}

const dnsOf = ({ config }: AttachmentRequest, ipam: Result): Result['dns'] =>
  config.runtime.dns ?? config.dns ?? ipam.dns;

/** Judged while closed; opened last. */
export async function judgeAndOpen(
  pod: Omit<LocalPod, 'tag'>,
  ifindex: number,
  attachment: Attachment,
  context: Context,
): Promise<void> {
  attachment.append(writeFacts({ pod: { ...pod, tag: 0 } }));
  const judged = await context.hook.judge(pod);
  attachment.append(writeFacts({ pod: judged }));
  forgetStaleHostPorts(judged, context);
  context.signal?.throwIfAborted();
  tagLink(context.host, ifindex, judged.tag);
}

/** Addresses that dead calls hold are taken back before a pool is called exhausted. */
async function addressesFor(request: AttachmentRequest, attachment: Attachment, context: Context): Promise<Result> {
  try {
    return await reserveAddresses(request, attachment, context);
  } catch (error) {
    if (!(error instanceof PoolExhausted) || (await clearDead(request.config, request.path, context)) === 0)
      throw error;
    return await reserveAddresses(request, attachment, context);
  }
}

async function plug(request: AttachmentRequest, attachment: Attachment, context: Context): Promise<Result> {
  using netns = openTarget(request, context);
  const ipam = await addressesFor(request, attachment, context);
  const planned = layout(ipam);
  const wanted = interfaceOf(request, planned, context);
  const { link, layout: made } = await plugInOnceFree(netns, wanted, context);
  const addresses = planned.addresses.map(({ address }) => formatAddress(address));
  const pod = describePod(request, wanted.hostName, addresses, await masqueradeOf(request.config, ipam), context);
  await judgeAndOpen(pod, link.ifindex, attachment, context);
  return resultOf(made, { ...wanted, netns: request.netns }, dnsOf(request, ipam));
}

const hostNameOf = ({ config, containerID, ifname }: AttachmentRequest): string =>
  hostInterfaceName({ network: config.name, containerID, ifname });

/** The link that has our name; one that a DEL has left to be deleted is waited for. */
async function findTaken(request: AttachmentRequest, { host, graveyard }: Context): Promise<Link | undefined> {
  const key = { name: hostNameOf(request) };
  const link = findLink(host, key);
  if (!link || isThere(link)) return link;
  await graveyard.emptied();
  return findLink(host, key);
}

/** A DEL of the same container may have left its interface to be deleted, whose name is wanted again. */
async function plugInOnceFree(
  netns: Netns,
  wanted: PodInterface,
  context: Context,
): Promise<ReturnType<typeof plugIn>> {
  try {
    return plugIn(context.host, netns, wanted);
  } catch (error) {
    if (!(error instanceof NameTaken)) throw error;
    await context.graveyard.emptied();
    return plugIn(context.host, netns, wanted);
  }
}

/** Nothing of ours is known of this attachment, so the link is not ours to replace or to delete. */
function refuseTaken({ containerID }: AttachmentRequest, { name, alias }: Link): CniError {
  const isSame = alias !== undefined && parseAlias(alias)?.shortID === shortID(containerID);
  return new CniError(
    isSame ? codes.duplicateAttachment : codes.notOurs,
    `Cannot create ${name}: the name is taken by ${alias ?? 'a link that is not ours'}`,
    isSame ? 'DEL it first: its record is gone, but its interface is not' : 'remove that link, or run `tollgate gc`',
  );
}

/** The error that made us turn back is the one to report; what cannot be undone now stays closed, for DEL or GC. */
async function undo(request: AttachmentRequest, attachment: Attachment, context: Context): Promise<void> {
  try {
    await unplug(request, attachment, context);
  } catch (error) {
    context.log(
      `Cannot undo the ADD of ${request.containerID}: ${error instanceof Error ? error.message : String(error)}`,
    );
  }
}

/** The way of every ADD, whoever made the interface: all of it, or nothing. */
export async function attach(
  request: AttachmentRequest,
  kind: 'veth' | 'chained',
  context: Context,
  work: (attachment: Attachment) => Promise<Result>,
): Promise<Result> {
  await context.hook.admit();
  using attachment = await beginAttachment(request, kind, context);
  const taken = kind === 'veth' && (await findTaken(request, context));
  if (taken) {
    attachment.remove();
    throw refuseTaken(request, taken);
  }
  try {
    const result = await work(attachment);
    attachment.append({ phase: 'ready' });
    return result;
  } catch (error) {
    await undo(request, attachment, context);
    throw error;
  }
}

/** @throws any of the typed errors of `failure.ts`; nothing is left then, save what undoing says on stderr */
export const add = (request: AttachmentRequest, context: Context): Promise<Result> =>
  attach(request, 'veth', context, attachment => plug(request, attachment, context));
