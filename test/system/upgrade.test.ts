/**
 * An upgrade from the last release while pods talk: the launcher and the agent are exchanged one after the other, so that each
 * meets the other's older version. No packet of an allowed connection is lost, and none of a denied one is let through.
 */
import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import { existsSync } from 'node:fs';
import { text } from 'node:stream/consumers';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { formatAddress } from '../../lib/ip/address.ts';
import { type Agent, startAgent, command as workerCommand } from '../support/agent-process.ts';
import { type Json, runDir, silently, tollgate, tollgateDir } from '../support/cni.ts';
import { KubeHost } from '../support/kube-host.ts';
import { type PluggedPod, PORT, PolicyHost, policy } from '../support/policy-host.ts';
import type { Asked } from '../support/traffic.ts';
import { until } from '../support/until.ts';

const released = `${tollgateDir}/tools/released/tollgate`;
if (!existsSync(released)) throw new Error(`${released} is not there: run test/released.sh`);

const roles = { web: { role: 'web' }, friend: { role: 'friend' }, stranger: { role: 'stranger' } } as const;
type Role = keyof typeof roles;
const web = { podSelector: { matchLabels: roles.web } };
const fromFriends = { ...web, ingress: [{ from: [{ podSelector: { matchLabels: roles.friend } }] }] };
const fromAll = { ...web, ingress: [{}] };

/** A node whose pods are judged by a folder, or by an agent that hears the API. */
interface Node extends AsyncDisposable {
  readonly host: PolicyHost;
  readonly plug: (name: string, role: Role) => Promise<PluggedPod>;
  readonly agentOf: (program: string) => Promise<Agent>;
  /** From the start friends alone may call pods of the role `web`; from then on all may. */
  readonly open: () => Promise<void>;
}

async function folderNode(): Promise<Node> {
  const host = await PolicyHost.start({ way: 'launcher' });
  host.put('web.yaml', policy('web', fromFriends));
  return {
    host,
    plug: (name, role) => host.plug(name, { labels: roles[role] }),
    agentOf: program => startAgent(host.host, [program, ...workerCommand.slice(1)]),
    async open() {
      host.put('web.yaml', policy('web', fromAll));
      await host.apply();
    },
    [Symbol.asyncDispose]: async () => host[Symbol.dispose](),
  };
}

async function clusterNode(): Promise<Node> {
  const host = await KubeHost.startCluster({ way: 'launcher' });
  host.policy('web', fromFriends);
  return {
    host,
    plug: (name, role) => host.run({ name, labels: roles[role] }),
    agentOf: program => host.startReleased(program),
    open: async () => host.policy('web', fromAll),
    [Symbol.asyncDispose]: () => host[Symbol.asyncDispose](),
  };
}

const bin = '/run/bin';
const install = (program: string) => [program, 'install', '--no-conflist', '--bin-dir', bin, '--run-dir', runDir];
const addressesOf = ({ addresses }: PluggedPod) => [addresses[4], addresses[6]].map(formatAddress);

/** A program of test/support/traffic.ts in a pod, and what it says in the end. */
class Traffic implements Disposable {
  readonly #child: ChildProcess;
  readonly #said: Promise<string>;

  constructor({ host }: PolicyHost, pod: PluggedPod, ...args: readonly string[]) {
    const script = fileURLToPath(new URL('../support/traffic.ts', import.meta.url));
    this.#child = host.spawn([process.execPath, script, ...args], { netns: pod.call.netns! });
    this.#said = text(this.#child.stdout!);
  }

  end(): Promise<string> {
    this.#child.stdin!.end();
    return this.#said;
  }

  [Symbol.dispose](): void {
    this.#child.kill('SIGKILL');
  }
}

/** Pods that talk, and the kernel's own count of their packets where they begin and where they end. */
class Talk implements Disposable {
  readonly #host: PolicyHost;
  readonly #pods: Readonly<Record<Role, PluggedPod>>;
  readonly #server: Traffic;
  readonly #asking: Traffic;
  readonly #knocking: Traffic;

  /** The server listens when this returns. */
  static async begin(host: PolicyHost, pods: Readonly<Record<Role, PluggedPod>>): Promise<Talk> {
    const count = (pod: PluggedPod, hook: 'input' | 'output', of: readonly PluggedPod[]) => {
      const end = hook === 'input' ? 'saddr' : 'daddr';
      const rules = of
        .flatMap(addressesOf)
        .map(address => `${address.includes(':') ? 'ip6' : 'ip'} ${end} ${address} counter`);
      return host.host.must(['nft', '-f', '-'], {
        netns: pod.call.netns!,
        input: `table inet seen { chain ${hook} { type filter hook ${hook} priority 0; ${rules.join('; ')}; }; }\n`,
      });
    };
    await count(pods.web, 'input', [pods.friend, pods.stranger]);
    await count(pods.stranger, 'output', [pods.web]);
    const server = new Traffic(host, pods.web, 'serve', String(PORT));
    await until('the server to listen', async () =>
      (await host.host.sh('ss -Hltn', pods.web.call.netns)).includes(`:${PORT} `),
    );
    return new Talk(host, pods, server);
  }

  private constructor(host: PolicyHost, pods: Readonly<Record<Role, PluggedPod>>, server: Traffic) {
    this.#host = host;
    this.#pods = pods;
    this.#server = server;
    const to = [String(PORT), ...addressesOf(pods.web)];
    this.#asking = new Traffic(host, pods.friend, 'ask', ...to);
    this.#knocking = new Traffic(host, pods.stranger, 'knock', ...to);
  }

  /** Packets by rule. */
  async #counts(role: Role): Promise<readonly number[]> {
    const listed = await this.#host.host.sh('nft list table inet seen', this.#pods[role].call.netns);
    return [...listed.matchAll(/packets (\d+)/g)].map(([, packets]) => Number(packets));
  }

  /** Packets from the stranger that have reached the server. */
  async letThrough(): Promise<number> {
    const [, , four, six] = await this.#counts('web');
    return four! + six!;
  }

  /** Packets that the stranger has sent. */
  async knocks(): Promise<number> {
    return (await this.#counts('stranger')).reduce((sum, count) => sum + count, 0);
  }

  /** Resolves when both have sent a hundred packets more in each family. */
  async goOn(): Promise<void> {
    const now = async () => [...(await this.#counts('web')).slice(0, 2), ...(await this.#counts('stranger'))];
    const before = await now();
    await until('more traffic', async () => (await now()).every((count, i) => count > before[i]! + 100));
  }

  /** Ends what the friend asks; the stranger goes on. */
  async end(): Promise<readonly Asked[]> {
    return JSON.parse(await this.#asking.end()) as Asked[];
  }

  [Symbol.dispose](): void {
    for (const traffic of [this.#server, this.#asking, this.#knocking]) traffic[Symbol.dispose]();
  }
}

/** Calls by the launcher that is there, for pods that are there and for new ones. */
async function assertCallsWork({ host, plug }: Node, old: PluggedPod, when: string): Promise<void> {
  await silently(host.host, 'CHECK', { ...old.call, config: { ...(old.call.config as Json), prevResult: old.result } });
  using server = await plug(`web-${when}`, 'web');
  using friend = await plug(`friend-${when}`, 'friend');
  using stranger = await plug(`stranger-${when}`, 'stranger');
  assert.deepEqual([host.reaches(friend, server), host.reaches(stranger, server)], [true, false], when);
  for (const pod of [server, friend, stranger]) await pod.unplug();
  await old.unplug();
}

type Part = 'launcher' | 'agent';

/** @returns the agent that is there then */
async function exchange(part: Part, node: Node, agent: Agent | undefined, isLast: boolean): Promise<Agent | undefined> {
  if (part === 'launcher') {
    await node.host.host.must(install(tollgate));
    return agent;
  }
  agent!.child.kill('SIGTERM');
  await until('the old agent to be gone', () => agent!.child.exitCode !== null || agent!.child.signalCode !== null);
  // It waits for the next agent, or is carried out without one.
  const adding = node.plug('meanwhile', 'friend');
  const next = await node.agentOf(isLast ? `${bin}/tollgate-node` : tollgate);
  using _meanwhile = await adding;
  return next;
}

async function upgrade(t: TestContext, start: () => Promise<Node>, parts: readonly Part[]): Promise<void> {
  await using node = await start();
  const { host, plug } = node;
  await host.host.must(install(released));
  using things = new DisposableStack();
  let agent = parts.includes('agent') ? things.use(await node.agentOf(`${bin}/tollgate-node`)) : undefined;
  const plugged = async (name: string, role: Role) => things.use(await plug(name, role));
  const talking = {
    web: await plugged('web', 'web'),
    friend: await plugged('friend', 'friend'),
    stranger: await plugged('stranger', 'stranger'),
  };
  const olds = [];
  for (const i of parts.keys()) olds.push(await plugged(`old-${i}`, 'web'));
  using talk = await Talk.begin(host, talking);
  await talk.goOn();
  for (const [i, part] of parts.entries()) {
    agent = await exchange(part, node, agent, i === parts.length - 1);
    if (agent) things.use(agent);
    await talk.goOn();
    await assertCallsWork(node, olds[i]!, `after-${part}`);
    await talk.goOn();
  }
  assert.equal(await talk.letThrough(), 0);
  const asked = await talk.end();
  t.diagnostic(JSON.stringify({ asked, stranger: await talk.knocks(), adds: agent?.calls('ADD') }));
  for (const { lost, isBroken } of asked) assert.deepEqual({ lost, isBroken }, { lost: 0, isBroken: false });
  // A packet of the stranger would have been seen.
  await node.open();
  await until('the stranger to be let through', async () => (await talk.letThrough()) > 0);
  const { stdout, exit } = await host.type(['verify']);
  assert.equal(exit, 0, stdout);
  for (const pod of Object.values(talking)) await pod.unplug();
}

test('without an agent, the launcher and what it starts are exchanged', t => upgrade(t, folderNode, ['launcher']));

for (const [what, start] of Object.entries({
  'a worker and a folder': folderNode,
  'an agent and the API': clusterNode,
}))
  for (const parts of [
    ['launcher', 'agent'],
    ['agent', 'launcher'],
  ] as const)
    test(`with ${what}: first the ${parts[0]}, then the ${parts[1]}`, t => upgrade(t, start, parts));
