/**
 * Plugs pods in as the warm process does, in the network namespace that it is run in, while the folder's labels change; prints
 * for each way how the pod's interface is tagged, and how the pod is judged. Its argument is an empty folder.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync, readlinkSync, renameSync, statSync, writeFileSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { parseConfig } from '../../lib/cni/config.ts';
import { type AttachmentRequest, parseRequest } from '../../lib/cni/request.ts';
import { SharedLinkReaper } from '../../lib/controller/link-reaper.ts';
import { TableMemory } from '../../lib/enforce/footing.ts';
import { GroupCommit } from '../../lib/enforce/group-commit.ts';
import { Conntrack } from '../../lib/kernel/conntrack.ts';
import { lock } from '../../lib/kernel/flock.ts';
import { NetlinkSocket } from '../../lib/kernel/netlink.ts';
import { currentNetns } from '../../lib/kernel/netns.ts';
import { Nft } from '../../lib/kernel/nft.ts';
import { SocketPool } from '../../lib/kernel/socket-pool.ts';
import { DiskNodeStore } from '../../lib/nodestore/disk-store.ts';
import { add } from '../../lib/pod/add.ts';
import type { Dispatch } from '../../lib/pod/dispatch.ts';
import { openHere, type Warm } from '../../lib/pod/here.ts';
import { findLink } from '../../lib/pod/links.ts';
import { hostInterfaceName } from '../../lib/tag/link-name.ts';

const folder = process.argv[2]!;
const runDir = `${folder}/run`;
const policies = `${folder}/policies`;
mkdirSync(policies);
const log = (line: string): void => console.error(line);
const config = { cniVersion: '1.1.0', name: 'net', type: 'tollgate', stateDir: `${folder}/state`, runDir, policies };
const ipam = { type: 'tollgate-ipam', ranges: [[{ subnet: '10.77.0.0/24' }]] };
using reaper = new SharedLinkReaper((_, line) => log(line));
using route = NetlinkSocket.open('route');
using routeAside = new SocketPool(() => NetlinkSocket.open('route'));
using netfilter = new SocketPool(() => NetlinkSocket.open('netfilter'));
using nft = Nft.open();
const warm: Warm = {
  here: currentNetns(),
  runDir,
  store: new DiskNodeStore(runDir, currentNetns()),
  memory: new TableMemory(),
  changes: new GroupCommit(() => false),
  reaper,
  route,
  routePool: routeAside,
  nft,
  conntrack: new Conntrack(netfilter),
  others: () => false,
  mended: () => undefined,
};

/** Replaces the manifests by one Pod of this role for each of these names. */
function say(roles: Readonly<Record<string, string>>): void {
  const pod = ([name, role]: readonly [string, string]) => ({
    ...{ apiVersion: 'v1', kind: 'Pod', metadata: { name, namespace: 'default', labels: { role } } },
  });
  writeFileSync(
    `${folder}/pods`,
    JSON.stringify({ apiVersion: 'v1', kind: 'List', items: Object.entries(roles).map(pod) }),
  );
  renameSync(`${folder}/pods`, `${policies}/pods.json`);
}

async function apply(): Promise<void> {
  using context = openHere(parseConfig(JSON.stringify(config), 'STATUS'), {}, log, undefined, warm);
  await context.hook.apply();
}

const sandboxes: ChildProcess[] = [];

/** A pod's namespace, once it is one; it stays until the end. */
async function sandbox(): Promise<ChildProcess> {
  const child = spawn('unshare', ['-n', 'sleep', '600'], { stdio: 'ignore' });
  sandboxes.push(child);
  const mine = readlinkSync('/proc/self/ns/net');
  while (readlinkSync(`/proc/${child.pid}/ns/net`) === mine) await pause(5);
  return child;
}

interface Outcome {
  /** The group of the pod's interface. */
  readonly group: number | undefined;
  /** The pod's tag in the node's state. */
  readonly tag: number | undefined;
  readonly role: string | undefined;
}

/** @returns what has become of the pod, whenever it is asked */
async function plug(name: string, slowly: (put: Dispatch) => Dispatch = put => put): Promise<() => Outcome> {
  const child = await sandbox();
  const env = {
    ...{ CNI_COMMAND: 'ADD', CNI_CONTAINERID: name, CNI_IFNAME: 'eth0', CNI_PATH: '/nowhere' },
    ...{ CNI_NETNS: `/proc/${child.pid}/ns/net`, CNI_ARGS: `K8S_POD_NAMESPACE=default;K8S_POD_NAME=${name}` },
  };
  const request = parseRequest(env, () => JSON.stringify({ ...config, ipam })) as AttachmentRequest;
  using context = openHere(request.config, env, log, undefined, warm);
  await add(request, { ...context, dispatch: slowly(context.dispatch) });
  const link = hostInterfaceName({ network: 'net', containerID: name, ifname: 'eth0' });
  const { hook } = context;
  return () => {
    const judged = hook.find(`net/${name}/eth0`);
    return { group: findLink(route.exchange, { name: link })?.group, tag: judged?.tag, role: judged?.labels['role'] };
  };
}

say({ stays: 'web', slow: 'web', queued: 'web', early: 'web' });
const stays = await plug('stays');
// The pod's end takes long, and by then the folder says something else.
const slow = await plug('slow', ({ pod, ...put }) => ({
  ...put,
  pod: socket => async requests => {
    const answers = await pod(socket)(requests);
    say({ stays: 'web', slow: 'db', queued: 'web', early: 'web' });
    await apply();
    return answers;
  },
}));
// ADD and DEL both wait for the node's lock, and may get it in either order.
const held = await lock(`${runDir}/${statSync('/proc/self/ns/net').ino}.lock`, 5_000);
const adding = plug('queued');
const name = hostInterfaceName({ network: 'net', containerID: 'queued', ifname: 'eth0' });
while (!findLink(route.exchange, { name })?.up) await pause(5);
say({ stays: 'web', slow: 'db', queued: 'db', early: 'web' });
const applying = apply();
await pause(300);
held[Symbol.dispose]();
const queued = await adding;
await applying;
// The folder has been read, and says something else that is in force before the pod is judged.
const early = await plug('early', ({ pair, ...put }) => ({
  ...put,
  pair: async requests => {
    say({ stays: 'web', slow: 'db', queued: 'db', early: 'db' });
    await apply();
    return await pair(requests);
  },
}));
const outcomes = { stays: stays(), slow: slow(), queued: queued(), early: early() };
for (const child of sandboxes) child.kill();
console.log(JSON.stringify(outcomes));
process.exit(0);
