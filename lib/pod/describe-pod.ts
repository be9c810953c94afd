/** The pod of an ADD before anything is made: its labels and names, and its interface. */
import { givenLabels, podNameOf } from '../cni/labels.ts';
import type { AttachmentRequest } from '../cni/request.ts';
import { requestedMac } from '../cni/request.ts';
import { type HostPort, type LocalPod, labelled } from '../gate/node-state.ts';
import { formatAddress } from '../ip/address.ts';
import { formatAlias } from '../tag/alias.ts';
import { hostInterfaceName, linkMac } from '../tag/link-name.ts';
import type { Context } from './context.ts';
import type { PodInterface } from './interface.ts';
import type { Masquerade } from './ipam.ts';
import type { PodLayout } from './plan.ts';

export const hostPortsOf = ({ config }: AttachmentRequest): HostPort[] =>
  config.runtime.portMappings.map(({ hostPort, containerPort, protocol, hostIP }) => ({
    hostPort,
    containerPort,
    protocol,
    ...(hostIP ? { hostIP: formatAddress(hostIP) } : {}),
  }));

/** The pod as the table needs it, without its tag, which the judge gives. */
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

/** Whether it is one of the node's 127.0.0.1, too. */
export const isLoopbackPort = ({ hostIP }: HostPort): boolean =>
  hostIP === undefined || /^(127\.|0\.0\.0\.0$)/.test(hostIP);

export function interfaceOf(request: AttachmentRequest, planned: PodLayout, mtu: number): PodInterface {
  const { config, containerID, ifname } = request;
  const key = { network: config.name, containerID, ifname };
  const ports = hostPortsOf(request);
  return {
    hostName: hostNameOf(request),
    hostMac: linkMac(key, 'host'),
    ifname,
    podMac: requestedMac(request) ?? linkMac(key, 'pod'),
    mtu,
    alias: formatAlias({ ...nameOf(request), containerID }),
    layout: planned,
    routeLocalnet: ports.some(isLoopbackPort),
  };
}

function nameOf(request: AttachmentRequest): { namespace: string; pod: string } {
  const { namespace, name } = podNameOf(request);
  return { namespace, pod: name };
}

export const hostNameOf = ({ config, containerID, ifname }: AttachmentRequest): string =>
  hostInterfaceName({ network: config.name, containerID, ifname });
