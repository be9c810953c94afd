import { formatAddress, parseAddress } from '../../ip/address.ts';
import type { NamedPort } from '../../tag/identity.ts';
import { printable } from '../../tag/printable.ts';
import { type Labels, type Node, type Pod, protocols } from '../model/model.ts';
import { isPortName } from '../model/name-syntax.ts';
import { complain, decimal, type Field, flagOf, isAbsent, itemsOf, member, membersOf, shown, textOf } from './field.ts';
import { checkLabelKey, labelValueOf } from './selector.ts';

/** The labels of any object; invalid ones are reported, and left out. */
export function labelsOf(object: Field): Labels {
  const labels = new Map<string, string>();
  for (const [key, field] of membersOf(member(member(object, 'metadata'), 'labels')) ?? []) {
    const value = labelValueOf(field);
    if (checkLabelKey(field, key) && value !== undefined) labels.set(key, value);
  }
  return labels;
}

function namedPortOf(field: Field): readonly NamedPort[] {
  const [nameField, portField, protocolField] = [
    member(field, 'name'),
    member(field, 'containerPort'),
    member(field, 'protocol'),
  ];
  if (isAbsent(nameField)) return [];
  const name = textOf(nameField, 'a port name');
  if (name === undefined) return [];
  const port = portField.value;
  const protocol = isAbsent(protocolField) ? 'TCP' : protocols.find(known => known === protocolField.value);
  if (!isPortName(name)) complain(nameField, `${shown(name)} is no port name: at most 15 of a-z, 0-9 and "-"`);
  else if (!protocol) complain(protocolField, `${shown(protocolField.value)} is no protocol: write TCP, UDP or SCTP`);
  else if (typeof port !== 'number' || !Number.isInteger(port) || port < 1 || port > 65535)
    complain(portField, `${shown(port)} is no port: write a number from 1 to 65535, without quotes`);
  else return [{ name, port, protocol }];
  return [];
}

/**
 * So many ports of a pod may have names that count. They are part of its identity, which stands in the state and in the table:
 * what one pod declares must not make the calls for others dear.
 */
export const MOST_PORTS = 1000;

/** Named ports of the containers that run as long as the pod does: among init containers, those that are sidecars. */
function namedPortsOf(spec: Field): readonly NamedPort[] {
  const containers = itemsOf(member(spec, 'containers')) ?? [];
  const sidecars = (itemsOf(member(spec, 'initContainers')) ?? []).filter(
    container => member(container, 'restartPolicy').value === 'Always',
  );
  const ports = [...sidecars, ...containers].flatMap(container => itemsOf(member(container, 'ports')) ?? []);
  const byText = new Map<string, NamedPort>();
  for (const named of ports.flatMap(namedPortOf)) {
    const text = `${named.name} ${named.protocol} ${named.port}`;
    if (!byText.has(text)) byText.set(text, named);
  }
  const named = [...byText.values()];
  if (named.length <= MOST_PORTS) return named;
  const message = `${named.length} ports with a name, and a policy can mean the first ${MOST_PORTS} by theirs: rules with the names of others allow nothing to them`;
  complain(member(spec, 'containers'), message);
  return named.slice(0, MOST_PORTS);
}

function addressOf(field: Field): readonly string[] {
  if (isAbsent(field) || field.value === '') return [];
  const address = typeof field.value === 'string' ? decimal(field, field.value, parseAddress) : undefined;
  if (address) return [formatAddress(address)];
  complain(field, `${shown(field.value)} is no address: write it in quotes, as "10.0.0.7" or "fd00::7"`);
  return [];
}

/** status.podIPs and status.podIP, which is the first of them. */
function addressesOf(status: Field): readonly string[] {
  const listed = (itemsOf(member(status, 'podIPs')) ?? []).flatMap(item => addressOf(member(item, 'ip')));
  return [...new Set([...listed, ...addressOf(member(status, 'podIP'))])];
}

const optionalText = (field: Field): string | undefined => {
  const text = isAbsent(field) ? undefined : textOf(field, 'a text');
  return text === undefined ? undefined : printable(text);
};

export function podOf(object: Field, { namespace, name }: { readonly namespace: string; readonly name: string }): Pod {
  const [spec, status] = [member(object, 'spec'), member(object, 'status')];
  const uid = optionalText(member(member(object, 'metadata'), 'uid'));
  const nodeName = optionalText(member(spec, 'nodeName'));
  const phase = member(status, 'phase').value;
  return {
    namespace,
    name,
    ...(uid === undefined ? {} : { uid }),
    labels: labelsOf(object),
    addresses: addressesOf(status),
    namedPorts: namedPortsOf(spec),
    hostNetwork: flagOf(member(spec, 'hostNetwork')) ?? false,
    finished: phase === 'Succeeded' || phase === 'Failed',
    ...(nodeName === undefined ? {} : { nodeName }),
  };
}

/** Only addresses that are addresses: a node's Hostname is listed among them, too. */
export function nodeOf(object: Field, { name }: { readonly name: string }): Node {
  const listed = itemsOf(member(member(object, 'status'), 'addresses')) ?? [];
  const addresses = listed
    .filter(item => ['InternalIP', 'ExternalIP'].includes(String(member(item, 'type').value)))
    .flatMap(item => addressOf(member(item, 'address')));
  return { name, labels: labelsOf(object), addresses: [...new Set(addresses)] };
}
