/** What a person may say about the node's network, beside its policies, to `tollgate agent`. */
import type { Options } from 'yargs';
import type { ConflistSettings } from '../agent/conflist.ts';
import type { NodeKeeperOptions } from '../agent/node-keeper.ts';

export const nodeOptions = {
  'conf-dir': {
    type: 'string',
    requiresArg: true,
    normalize: true,
    describe: 'Where to write the conflist, once pods can be plugged in; without it: nowhere',
  },
  masquerade: {
    type: 'boolean',
    default: true,
    describe: 'Whether pods leave the cluster under the node\'s address: "ipMasq" of the conflist',
  },
  mtu: {
    type: 'number',
    requiresArg: true,
    describe: 'Of pods\' interfaces: "mtu" of the conflist; else that of the default route\'s device',
  },
  'take-over': {
    type: 'boolean',
    default: false,
    describe:
      'Write the conflist also where another network has its own before it, which is moved aside, or has pods, which stay without a gate until they are deleted',
  },
  'remove-conflist-on-exit': {
    type: 'boolean',
    default: false,
    describe: 'Take the conflist away at the end: the node has no network then; not for an ordinary restart',
  },
  'cni-cache-dir': {
    type: 'string',
    default: '/var/lib/cni',
    requiresArg: true,
    normalize: true,
    describe: 'Where the runtime notes which networks have pods (libcni)',
  },
} as const satisfies Record<string, Options>;

export interface NodeGiven {
  readonly confDir?: string | undefined;
  readonly masquerade: boolean;
  readonly mtu?: number | undefined;
  readonly takeOver: boolean;
  readonly removeConflistOnExit: boolean;
  readonly cniCacheDir: string;
}

/** Undefined where none is to be written. */
export function conflistFrom(
  given: NodeGiven,
  agent: Omit<ConflistSettings, 'ipMasq' | 'mtu'>,
): NodeKeeperOptions['conflist'] {
  const { confDir, masquerade, mtu, takeOver, removeConflistOnExit, cniCacheDir } = given;
  if (confDir === undefined) return undefined;
  const settings = { ...agent, ipMasq: masquerade, ...(mtu === undefined ? {} : { mtu }) };
  return { confDir, cacheDir: cniCacheDir, takeOver, removeOnExit: removeConflistOnExit, settings };
}
