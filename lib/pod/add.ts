/**
 * ADD: plug in, closed; judge, while the interface is made ready; then open. A process that dies in between leaves a closed
 * pod and a record that DEL, GC or the next ADD clears; a step that fails has all of it undone before the error is returned.
 */
import { refuseTooSmallMtu } from '../cni/config.ts';
import { CniError, codes, messageOf } from '../cni/error.ts';
import { builtinIpam } from '../cni/ipam.ts';
import type { AttachmentRequest } from '../cni/request.ts';
import type { Result } from '../cni/result.ts';
import { ownerOf, settingsOf } from '../enforce/owner.ts';
import { HostPortTaken } from '../gate/host-ports.ts';
import { type LocalPod, podKey } from '../gate/node-state.ts';
import { formatAddress } from '../ip/address.ts';
import { AddressRefused, PoolExhausted } from '../ipam/error.ts';
import { getLink, type Link } from '../kernel/link.ts';
import { Netns, sameNetns } from '../kernel/netns.ts';
import type { Attachment } from '../state/attachment.ts';
import { parseAlias, shortID } from '../tag/alias.ts';
import { beginAttachment } from './attachment.ts';
import { Collector } from './collector.ts';
import type { Context } from './context.ts';
import { describePod, hostNameOf, interfaceOf } from './describe-pod.ts';
import { dispatchInline } from './dispatch.ts';
import { type MadeFacts, type PodFacts, writeFacts } from './facts.ts';
import { forgetStaleHostPorts } from './forget-flows.ts';
import { createPair, NameTaken, type PodInterface, plugIn } from './interface.ts';
import { masqueradeOf, refuseRouted, refuseTakenGateways, reserveAddresses } from './ipam.ts';
import { findLink, foundLink, isThere, tagLink } from './links.ts';
import { defaultRoutes, mtuOfPod, type PathMtu, readPathMtu } from './mtu.ts';
import { writeMade } from './pair.ts';
import { layout, resultOf } from './plan.ts';
import { leavingBy, unplug } from './unplug.ts';

/** @throws NetnsError, CniError code 8 where it is the node's own */
export function openTarget(request: AttachmentRequest, context: Context): Netns {
  const target = Netns.open(request.netns, context.caller);
  if (request.netnsOverride || !sameNetns(target.identity, context.here)) return target;
  target[Symbol.dispose]();
  throw new CniError(
    codes.invalidNetns,
    `Cannot plug ${request.ifname} into ${request.netns}: it is the network namespace of the node itself`,
    'set CNI_NETNS_OVERRIDE=true if that is meant',
  );
}

const dnsOf = ({ config }: AttachmentRequest, ipam: Result): Result['dns'] =>
  config.runtime.dns ?? config.dns ?? ipam.dns;

/** Does the work; where it fails for want of something that dead pods hold, undoes these and does it once more. */
async function withDeadCleared<T>(
  wants: (error: unknown) => boolean,
  { config, path }: AttachmentRequest,
  context: Context,
  work: () => Promise<T>,
): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!wants(error)) throw error;
    if ((await new Collector({ settings: config, path }, context).dead()) === 0) throw error;
    return await work();
  }
}

/** Judges the pod, whose interface is still closed. */
export async function judge(
  pod: Omit<LocalPod, 'tag'>,
  request: AttachmentRequest,
  attachment: Attachment,
  context: Context,
): Promise<LocalPod> {
  const { config } = request;
  const node = { owner: ownerOf(config), settings: settingsOf(config) };
  attachment.append(writeFacts({ pod: { ...pod, tag: 0 }, node }));
  const isPort = (error: unknown): boolean => error instanceof HostPortTaken;
  return await withDeadCleared(isPort, request, context, () => context.hook.judge(pod));
}

/**
 * Opens the pod: the last step of an ADD. The tag is read again, because another process may have judged the pod anew since
 * (its labels changed). Such a process writes the node's record first and then retags links that are open: either it finds
 * this link open, or this call reads its record.
 * @returns the pod as it is judged now
 */
export async function open(judged: LocalPod, ifindex: number, context: Context): Promise<LocalPod> {
  const { host, hook, signal } = context;
  const key = podKey(judged);
  await forgetStaleHostPorts(judged, context);
  for (let given: number | undefined; ; ) {
    signal?.throwIfAborted();
    const pod = hook.find(key);
    if (!pod)
      throw new CniError(codes.tryAgainLater, `Cannot open ${judged.link}: its pod has left the table meanwhile`);
    if (pod.tag === given) {
      hook.opened(key);
      return pod;
    }
    tagLink(host, ifindex, pod.tag);
    given = pod.tag;
  }
}

async function plug(
  request: AttachmentRequest,
  attachment: Attachment,
  context: Context,
  path: PathMtu,
): Promise<Attached> {
  using netns = openTarget(request, context);
  const isAddress = (error: unknown): boolean => error instanceof PoolExhausted || error instanceof AddressRefused;
  const ipam = await withDeadCleared(isAddress, request, context, () => reserveAddresses(request, attachment, context));
  if (request.config.ipam?.type !== builtinIpam)
    await withDeadCleared(isAddress, request, context, async () => refuseRouted(ipam, context));
  const planned = layout(ipam);
  refuseTakenGateways(planned, context);
  const families = new Set(planned.addresses.map(({ address }) => address.family));
  const { mtu = mtuOfPod(path, families) } = request.config;
  refuseTooSmallMtu(mtu, families);
  const wanted = interfaceOf(request, planned, mtu);
  const addresses = planned.addresses.map(({ address }) => formatAddress(address));
  const pod = describePod(request, wanted.hostName, addresses, await masqueradeOf(request.config, ipam), context);
  // As soon as the table knows the pod it sends packets for the pod's ports there, so the way must be known before.
  const dispatch =
    pod.hostPorts.length > 0 ? { ...context.dispatch, host: dispatchInline(context.host).host } : context.dispatch;
  const link = await createPairOnceFree(netns, wanted, context);
  const judging = () => judge({ ...pod, ifindex: link.ifindex }, request, attachment, context);
  const { layout: made, done: judged } = await plugIn(context.host, link, netns, wanted, {
    dispatch,
    meanwhile: judging,
  });
  return {
    judged: await open(judged, link.ifindex, context),
    made: writeMade({ ...wanted, layout: made }),
    result: resultOf(made, { ...wanted, netns: request.netns }, dnsOf(request, ipam)),
  };
}

/** A DEL of the same container may have left its interface to be deleted, whose name is wanted again. */
async function createPairOnceFree(
  netns: Netns,
  wanted: PodInterface,
  { host, dispatch, reaper }: Context,
): Promise<Link> {
  try {
    return await createPair(dispatch, host, netns, wanted);
  } catch (error) {
    if (!(error instanceof NameTaken)) throw error;
    await reaper.drained();
    return await createPair(dispatch, host, netns, wanted);
  }
}

/** The error for a name that a link has which is not ours to replace or to delete: no record of this attachment exists. */
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
    await unplug(leavingBy(request), attachment, context);
  } catch (error) {
    context.log(`Cannot undo the ADD of ${request.containerID}: ${messageOf(error)}`);
  }
}

/**
 * Checks the node before anything is made: the name of the host end must be free, where a link that a DEL left is waited
 * for; and what its MTU allows, unless the configuration says it.
 * @throws CniError where the name is taken by another link
 */
async function lookAround(request: AttachmentRequest, { host, reaper }: Context): Promise<PathMtu> {
  const key = { name: hostNameOf(request) };
  const { mtu } = request.config;
  const [taken, ...routes] = host([getLink(key), ...(mtu === undefined ? defaultRoutes() : [])]);
  let link = foundLink([taken!]);
  if (link && !isThere(link)) {
    await reaper.drained();
    link = findLink(host, key);
  }
  if (link) throw refuseTaken(request, link);
  return mtu === undefined ? readPathMtu(routes, host) : {};
}

/** A new attachment, as it was made. */
export interface Attached {
  readonly judged: LocalPod;
  /** MAC, MTU, gateways and routes that ADD gave to the pair, where it made one. */
  readonly made?: MadeFacts;
  readonly result: Result;
}

export interface Attaching<T> {
  readonly kind: PodFacts['kind'];
  /** Looks, and changes nothing. */
  readonly before: () => Promise<T>;
  readonly work: (attachment: Attachment, found: T) => Promise<Attached>;
}

/** The steps of every ADD, of an own or a chained interface: all of them, or none. */
export async function attach<T>(
  request: AttachmentRequest,
  context: Context,
  { kind, before, work }: Attaching<T>,
): Promise<Result> {
  await context.hook.admit();
  using attachment = await beginAttachment(request, kind, context);
  let found: T;
  try {
    found = await before();
  } catch (error) {
    attachment.remove();
    throw error;
  }
  try {
    const { judged, made, result } = await work(attachment, found);
    attachment.append({ ...writeFacts({ pod: judged, ...(made ? { made } : {}) }), phase: 'ready' });
    return result;
  } catch (error) {
    await undo(request, attachment, context);
    throw error;
  }
}

/** @throws any of the typed errors of `failure.ts`; nothing is left then, save what undoing says on stderr */
export const add = (request: AttachmentRequest, context: Context): Promise<Result> =>
  attach(request, context, {
    kind: 'veth',
    before: () => lookAround(request, context),
    work: (attachment, path) => plug(request, attachment, context, path),
  });
