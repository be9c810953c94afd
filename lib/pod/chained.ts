import { CniError, codes } from '../cni/error.ts';
import { formatEnforcer } from '../cni/own-keys.ts';
import type { AttachmentRequest } from '../cni/request.ts';
import type { Result } from '../cni/result.ts';
import { formatAddress, formatPrefix, networkOf } from '../ip/address.ts';
import { type Link, setLink } from '../kernel/link.ts';
import { must } from '../kernel/message.ts';
import { NetlinkSocket } from '../kernel/netlink.ts';
import { inNetns } from '../kernel/netns.ts';
import type { Attachment } from '../state/attachment.ts';
import { formatAlias } from '../tag/alias.ts';
import { condemned, isOurs, quarantine } from '../tag/tag.ts';
import { type Attached, attach, judge, open, openTarget } from './add.ts';
import type { Context } from './context.ts';
import { describePod, isLoopbackPort } from './describe-pod.ts';
import { writeFacts } from './facts.ts';
import { learnsNothing } from './interface.ts';
import { answerFromLoopback, findLink } from './links.ts';

/**
 * The other end of the pod's veth, found by the kernel's own link between the two, whatever the result calls it.
 * @throws CniError code 7 where the pod's interface is no veth
 */
function hostEnd(request: AttachmentRequest, context: Context): Link {
  using netns = openTarget(request, context);
  using pod = inNetns(netns, () => NetlinkSocket.open('route'));
  const inside = findLink(pod.exchange, { name: request.ifname });
  const outside = inside?.peer === undefined ? undefined : findLink(context.host, { ifindex: inside.peer });
  if (inside?.kind === 'veth' && outside?.kind === 'veth' && outside.peer === inside.ifindex) return outside;
  throw new CniError(
    codes.invalidConfig,
    `Cannot tag ${request.ifname} of ${request.containerID}: ${
      inside
        ? `it is ${inside.kind ?? 'a device'}, not one end of a veth to this node`
        : `no plugin before made it in ${request.netns}`
    }`,
    'chain tollgate after ptp, bridge or another plugin that makes a veth pair',
  );
}

/**
 * Refuses the port of a bridge: packets from port to port never pass our chains, and the bridge may be in another namespace.
 * @throws CniError
 */
function refuseBridgePort(request: AttachmentRequest, link: Link): void {
  if (link.master === undefined || request.config.enforcer.kind === 'none') return;
  throw new CniError(
    codes.invalidConfig,
    `Cannot enforce policy on ${link.name}: it is a port of a bridge, whose pods reach each other without being routed`,
    `"enforcer" is "${formatEnforcer(request.config.enforcer)}": set "enforcer": "none" to tag only, or let tollgate make the interface`,
  );
}

function refuseForeignTag(link: Link): void {
  if (!isOurs(link.group) || link.group === quarantine || link.group === condemned) return;
  if (link.alias?.startsWith('tollgate:')) return;
  throw new CniError(
    codes.notOurs,
    `Cannot tag ${link.name}: its group ${link.group} is in our range, but it does not have our alias`,
    'another program uses interface groups 0x74670000-0x7467ffff on this node: give its links other groups',
  );
}

async function tag(request: AttachmentRequest, attachment: Attachment, context: Context): Promise<Attached> {
  const { config, containerID, args } = request;
  const previous = config.prevResult!;
  const link = hostEnd(request, context);
  refuseBridgePort(request, link);
  refuseForeignTag(link);
  attachment.append(writeFacts({ link: link.name }));
  const own = previous.interfaces.findIndex(({ name, sandbox }) => name === request.ifname && sandbox);
  const ips = previous.ips.filter(ip => ip.interface === undefined || ip.interface === own);
  const addresses = ips.map(({ address }) => formatAddress(address));
  const subnets = [...new Set(ips.map(({ address }) => formatPrefix(networkOf(address))))];
  const masquerade = config.ipMasq
    ? { from: subnets, except: config.nonMasqueradeCIDRs?.map(formatPrefix) ?? subnets }
    : undefined;
  const { ifindex } = link;
  const pod = { ...describePod(request, link.name, addresses, masquerade, context), ifindex };
  // Closed until it is judged, as if we had made it; under `none` nothing reads the group.
  // In one message: a link that has a tag of ours and not our alias counts as another program's.
  const name = { namespace: args.podNamespace ?? 'default', pod: args.podName ?? containerID };
  const alias = formatAlias({ ...name, containerID });
  must(context.host([setLink({ ifindex }, { group: quarantine, alias, ipv4: learnsNothing })]));
  const judged = await judge(pod, request, attachment, context);
  // Only now: the table that guards the loopback is there.
  if (pod.hostPorts.some(isLoopbackPort)) answerFromLoopback(context.host, ifindex, true);
  return { judged: await open(judged, link.ifindex, context), result: previous };
}

/** ADD with a prevResult, which is passed on as it came. */
export const addChained = (request: AttachmentRequest, context: Context): Promise<Result> =>
  attach(request, context, {
    kind: 'chained',
    before: async () => undefined,
    work: attachment => tag(request, attachment, context),
  });
