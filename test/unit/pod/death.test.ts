/** Of which attachments the collector may say that no pod needs them, by what the kernel answers. */
import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { type Exchange, NetlinkError, type NetlinkRequest } from '../../../lib/kernel/message.ts';
import { RTM } from '../../../lib/kernel/rtnetlink.ts';
import { bodyOf, text, u32 } from '../../../lib/netlink/attribute.ts';
import { deathOf } from '../../../lib/pod/death.ts';
import type { Facts } from '../../../lib/state/record.ts';

const here = { dev: 4, ino: 4026531840 };
const pod = {
  ...{ network: 'net', containerID: 'c1', ifname: 'eth0', namespace: 'shop', name: 'web', addresses: ['10.0.0.2'] },
  ...{ link: 'tg0123456789', ifindex: 7, tag: 0, labels: {}, given: { config: {}, call: {} } },
  ...{ namedPorts: [], hostPorts: [] },
};
const ready = { phase: 'ready', kind: 'veth', home: '4:4026531840', link: pod.link, pod } as unknown as Facts;

const IFLA = { IFNAME: 3, IFALIAS: 20, LINK_NETNSID: 37 };
/** RTM_NEWLINK: struct ifinfomsg with the index, then attributes. @param nsid of the namespace of the other end */
function link(nsid: number | undefined) {
  const head = new Uint8Array(16);
  new DataView(head.buffer).setInt32(4, pod.ifindex, true);
  const attributes = [
    [IFLA.IFNAME, text(pod.link)],
    [IFLA.LINK_NETNSID, u32(nsid)],
  ] as const;
  return { type: RTM.NEWLINK, flags: 0, body: bodyOf(head, ...attributes) };
}

const NOT_ASSIGNED = 0xffff_ffff;
const errnos = { ENOENT: 2, ENODEV: 19 };
const refuse = (request: NetlinkRequest, code: keyof typeof errnos) => ({
  replies: [],
  error: new NetlinkError(request.operation, 1, { errno: errnos[code] }),
});

/** A kernel with the pod's link, or without it where nsid is null, and with the namespaces that are alive. */
const kernel =
  (nsid: number | undefined | null, living: readonly number[]): Exchange =>
  requests =>
    requests.map(request => {
      if (request.type === RTM.GETLINK) return nsid === null ? refuse(request, 'ENODEV') : { replies: [link(nsid)] };
      assert.equal(request.type, RTM.GETNSID);
      const asked = new DataView(request.body.buffer, request.body.byteOffset).getUint32(8, true);
      return living.includes(asked) ? { replies: [] } : refuse(request, 'ENOENT');
    });

suite('deathOf()', () => {
  const rows: readonly (readonly [what: string, Facts, host: Exchange, death: string | undefined])[] = [
    ['a pod that lives', ready, kernel(3, [3]), undefined],
    ['a pod in the same namespace as its host end', ready, kernel(undefined, []), undefined],
    ['a link that is gone', ready, kernel(null, []), 'its interface is gone'],
    [
      'a link whose pod has ended, before the kernel deletes it',
      ready,
      kernel(3, [4]),
      'its network namespace is gone',
    ],
    ['a link that the kernel is about to delete', ready, kernel(NOT_ASSIGNED, [3]), 'its network namespace is gone'],
    ['an attachment of another node namespace', { ...ready, home: '4:1' }, kernel(null, []), undefined],
    ['a pod on an interface that another plugin made', { ...ready, kind: 'chained' }, kernel(3, [3]), undefined],
    ['such an interface that is gone', { ...ready, kind: 'chained' }, kernel(null, []), 'its interface is gone'],
    ['addresses for an interface of another plugin', { ...ready, kind: 'ipam' }, kernel(null, []), undefined],
    ['an ADD that died', { ...ready, phase: 'adding' } as unknown as Facts, kernel(3, [3]), 'its ADD died halfway'],
  ];
  for (const [what, facts, host, death] of rows)
    test(`${death === undefined ? 'does not take' : 'takes'} ${what} for dead`, () => {
      assert.equal(deathOf({ facts }, { host, here } as unknown as Parameters<typeof deathOf>[1]), death);
    });
});
