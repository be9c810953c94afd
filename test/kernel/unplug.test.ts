/** A DEL beside another process that is at work on its pod at the same moment. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { readNodeSettings } from '../../lib/cni/own-keys.ts';
import { createVeth } from '../../lib/kernel/link.ts';
import { NetlinkSocket } from '../../lib/kernel/netlink.ts';
import { inNetns } from '../../lib/kernel/netns.ts';
import type { Context } from '../../lib/pod/context.ts';
import { writeFacts } from '../../lib/pod/facts.ts';
import { findLink, tagLink } from '../../lib/pod/links.ts';
import { unplug } from '../../lib/pod/unplug.ts';
import { lockAttachment } from '../../lib/state/attachment.ts';
import { openStore } from '../../lib/state/store.ts';
import { hostInterfaceName, linkMac } from '../../lib/tag/link-name.ts';
import { condemned, quarantine } from '../../lib/tag/tag.ts';
import { untaggedPod } from '../support/local-pod.ts';
import { makeNetns } from '../support/netns.ts';
import { scratchFolder } from '../support/scratch.ts';

const netns = makeNetns();
const podNetns = makeNetns();
const socket = inNetns(netns, () => NetlinkSocket.open('route'));
after(() => {
  socket[Symbol.dispose]();
  for (const each of [podNetns, netns]) each[Symbol.dispose]();
});
const { exchange: host } = socket;
const tag = quarantine + 1;

test('a chained pod that gets the tag of its new labels while it leaves the table is closed after that', async () => {
  const name = 'veth1234';
  const mac = { mac: '02:00:00:00:00:01', mtu: 1500 };
  const peer = { name: 'eth0', mac: '02:00:00:00:00:02', mtu: 1500, netns: podNetns.fd };
  const { ifindex } = await createVeth(async requests => host(requests), { name, ...mac, group: tag, peer });
  const pod = { ...untaggedPod('web', { link: name, ifindex }), tag };
  const { containerID, network, ifname } = pod;
  const stateDir = scratchFolder();
  const facts = writeFacts({ kind: 'chained', link: name, pod });
  const locked = await lockAttachment(openStore(stateDir), pod, {
    timeoutMs: 60_000,
    create: { phase: 'ready', ...facts },
  });
  using attachment = locked!.attachment;
  /** The other process found the link open before it was condemned, and tags it now. */
  const dismiss = async (): Promise<void> => tagLink(host, ifindex, tag);
  const conntrack = { forget: async () => {} };
  const context = { host, hook: { dismiss }, conntrack, env: {}, log: () => {} } as unknown as Context;
  const settings = readNodeSettings({ stateDir, runDir: scratchFolder() });
  await unplug({ containerID, ifname, network, settings, path: [] }, attachment, context);
  assert.equal(findLink(host, { ifindex })?.group, condemned);
});

/**
 * A DEL that has found no record, and the link of the attachment once a record of it has come to be at the step that is named.
 */
async function unrecorded(begins: 'before the link is found' | 'before the pod is dismissed' | 'never') {
  const key = { network: 'net', containerID: `${begins.replaceAll(' ', '-')}`, ifname: 'eth0' };
  const stateDir = scratchFolder();
  const name = hostInterfaceName(key);
  const peer = { name: name.replace('tg', 'in'), mac: linkMac(key, 'pod'), mtu: 1500, netns: podNetns.fd };
  const own = { name, mac: linkMac(key, 'host'), mtu: 1500, group: tag, peer };
  const { ifindex } = await createVeth(async requests => host(requests), own);
  const begin = async (step: typeof begins) => {
    if (step === begins)
      await lockAttachment(openStore(stateDir), key, { timeoutMs: 60_000, create: { phase: 'adding' } });
  };
  let stayed: boolean | undefined;
  const hook = {
    find: () => undefined,
    dismiss: async (_: string, stays: () => boolean) => {
      await begin('before the pod is dismissed');
      stayed = stays();
    },
  };
  await begin('before the link is found');
  const conntrack = { forget: async () => {} };
  const reaper = { defer: async () => {} };
  const context = { host, hook, conntrack, reaper, env: {}, log: () => {} } as unknown as Context;
  const settings = readNodeSettings({ stateDir, runDir: scratchFolder() });
  const isDone = await unplug({ ...key, settings, path: [] }, undefined, context);
  return { isDone, stayed, group: findLink(host, { ifindex })?.group };
}

for (const [begins, expected] of [
  ['before the link is found', { isDone: false, stayed: undefined, group: tag }],
  ['before the pod is dismissed', { isDone: true, stayed: true, group: condemned }],
  ['never', { isDone: true, stayed: false, group: condemned }],
] as const)
  test(`a DEL finds no record; an ADD of the same attachment begins: ${begins}`, async () => {
    assert.deepEqual(await unrecorded(begins), expected);
  });
