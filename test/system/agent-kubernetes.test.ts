/** The agent of a Kubernetes node, as the executable, with an API server of the test's own, a real kernel and real packets. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatAddress } from '../../lib/ip/address.ts';
import { isIdentity, quarantine } from '../../lib/tag/tag.ts';
import type { Agent } from '../support/agent-process.ts';
import { add, type Call, cni, errorOf, silently } from '../support/cni.ts';
import { refuse, statusOf } from '../support/fake-api.ts';
import { KubeHost } from '../support/kube-host.ts';
import { onlyFrom, PluggedPod, pods } from '../support/policy-host.ts';
import { until } from '../support/until.ts';

const role = (name: string) => ({ role: name });
const specOf = (manifest: ReturnType<typeof onlyFrom>) => manifest['spec'] as Record<string, unknown>;
const fromFriends = specOf(onlyFrom('x', role('web'), role('friend')));
const denyAll = { podSelector: {}, policyTypes: ['Ingress'] };

async function cluster(): Promise<{ host: KubeHost } & AsyncDisposable> {
  const host = await KubeHost.startCluster();
  return { host, [Symbol.asyncDispose]: () => host[Symbol.asyncDispose]() };
}

/** A test of a node whose agent has heard the API and serves calls. */
const testOnCluster = (name: string, proof: (host: KubeHost, agent: Agent) => Promise<void>): void =>
  void test(name, async () => {
    await using room = await cluster();
    using agent = await room.host.startAgent();
    await proof(room.host, agent);
  });

/** In the middle of a change the one probe may be answered so and the next one otherwise. */
function isReached(host: KubeHost, from: PluggedPod, to: PluggedPod): boolean | undefined {
  try {
    return host.reaches(from, to);
  } catch {
    return undefined;
  }
}

const reaches = (host: KubeHost, from: PluggedPod, to: PluggedPod, wanted: boolean): Promise<boolean> =>
  until(
    `${from.name} ${wanted ? 'to reach' : 'to be kept from'} ${to.name}`,
    () => isReached(host, from, to) === wanted,
  );

testOnCluster('what the API says of pods, namespaces and policies is in force as it is said', async host => {
  host.policy('web', fromFriends);
  using web = await host.run({ name: 'web', labels: role('web') });
  using friend = await host.run({ name: 'friend', labels: role('friend') });
  using stranger = await host.run({ name: 'stranger', labels: role('stranger') });
  assert.equal(host.reaches(friend, web), true);
  assert.equal(host.reaches(stranger, web), false);
  host.declare({ name: 'stranger', labels: role('friend') });
  await reaches(host, stranger, web, true);
  host.declare({ name: 'friend', labels: role('stranger') });
  await reaches(host, friend, web, false);
  host.policy('web', {
    ...pods(role('web')),
    ingress: [{ from: [{ namespaceSelector: { matchLabels: { team: 'blue' } } }] }],
  });
  await reaches(host, stranger, web, false);
  host.namespace('default', { team: 'blue' });
  await reaches(host, stranger, web, true);
  host.api.remove('networkpolicies', 'web', 'default');
  host.namespace('default');
  await reaches(host, friend, web, true);
});

testOnCluster('a pod is judged within its ADD, by asking where the watch has not told of it', async host => {
  host.policy('deny', denyAll);
  using web = await host.run({ name: 'web' });
  using late = await host.run({ name: 'late' });
  assert.equal(host.reaches(late, web), false);
  host.api.silence('pods');
  host.declare({ name: 'unheard', labels: role('friend') });
  using unheard = await host.plugIn({ name: 'unheard' });
  assert.ok(isIdentity(host.groupOf(unheard)));
  assert.ok(host.api.requests.some(({ path }) => path.endsWith('/pods/unheard')));
});

const strangers: readonly (readonly [string, (host: KubeHost) => string])[] = [
  ['that the API does not have', () => 'nobody'],
  [
    'whose name another pod has by now',
    host => {
      host.declare({ name: 'replaced', uid: 'another' });
      return 'replaced';
    },
  ],
  [
    'that nobody can be asked about',
    host => {
      host.api.next(
        ({ path }) => path.endsWith('/pods/unasked'),
        response => refuse(response, statusOf(500, 'InternalError')),
      );
      return 'unasked';
    },
  ],
];

for (const [what, arrange] of strangers)
  testOnCluster(`ADD of a pod ${what} is code 11, and leaves nothing`, async host => {
    const call = host.podCall({ name: arrange(host) }, await host.host.pod());
    const { code, msg } = errorOf(await cni(host.host, 'ADD', call));
    assert.equal(code, 11, msg);
    await until('no link to be left', async () => !(await host.host.sh('ip -br link')).includes('tg'));
  });

testOnCluster('a static pod is known by the uid that its kubelet gave it', async host => {
  const annotations = { 'kubernetes.io/config.mirror': 'c0ffee', 'kubernetes.io/config.hash': 'c0ffee' };
  host.declare({ name: 'static', uid: 'of-the-mirror', annotations });
  using pod = await host.plugIn({ name: 'static', uid: 'c0ffee' });
  assert.ok(isIdentity(host.groupOf(pod)));
});

testOnCluster(
  'a pod that was deleted by force stays what it was until its DEL, and its address goes with it',
  async host => {
    host.policy('web', fromFriends);
    using web = await host.run({ name: 'web', labels: role('web') });
    using friend = await host.run({ name: 'friend', labels: role('friend') });
    using stranger = await host.run({ name: 'stranger' });
    host.api.remove('pods', 'friend', 'default');
    host.api.remove('pods', 'web', 'default');
    host.declare({ name: 'witness', node: 'n2', labels: role('friend'), ip: '10.99.0.9' });
    await until('the later event to be in force', async () => (await host.words()).includes('10.99.0.9'));
    assert.equal(host.reaches(friend, web), true);
    assert.equal(host.reaches(stranger, web), false);
    await friend.unplug();
    assert.doesNotMatch(
      await host.words(),
      new RegExp(`${formatAddress(friend.addresses[4]).replaceAll('.', '\\.')}\\b`),
    );
  },
);

testOnCluster(
  'pods elsewhere are peers by the addresses that the API tells, and a live pod here wins over an old word of its address',
  async host => {
    host.policy('web', fromFriends);
    using web = await host.run({ name: 'web', labels: role('web') });
    using stranger = await host.run({ name: 'stranger' });
    host.declare({ name: 'elsewhere', node: 'n2', labels: role('friend'), ip: '10.99.0.7' });
    const peers = () => host.words().then(text => text.includes('10.99.0.7'));
    await until('the peer to be in the set', peers);
    host.declare({ name: 'elsewhere', node: 'n2', labels: role('friend'), ip: formatAddress(stranger.addresses[4]) });
    await until('the old address to have left', async () => !(await peers()));
    assert.equal(host.reaches(stranger, web), false);
    host.declare({ name: 'elsewhere', node: 'n2', labels: role('friend'), ip: '10.99.0.8', phase: 'Succeeded' });
    host.declare({ name: 'last', node: 'n2', labels: role('friend'), ip: '10.99.0.9' });
    await until('the last one', async () => (await host.words()).includes('10.99.0.9'));
    assert.doesNotMatch(await host.words(), /10\.99\.0\.8/, 'it has finished');
  },
);

testOnCluster('an agent that is killed leaves every gate as it is, and the next one goes on', async (host, first) => {
  host.policy('web', fromFriends);
  using web = await host.run({ name: 'web', labels: role('web') });
  using friend = await host.run({ name: 'friend', labels: role('friend') });
  using stranger = await host.run({ name: 'stranger' });
  const before = await host.words();
  await host.killAgent(first);
  assert.equal(await host.words(), before);
  assert.equal(host.reaches(friend, web), true);
  assert.equal(host.reaches(stranger, web), false);
  host.declare({ name: 'stranger', labels: role('friend') });
  const call = host.podCall({ name: 'more' }, await host.host.pod(), { agentGrace: 0 });
  assert.equal(errorOf(await cni(host.host, 'ADD', call)).code, 11, 'the agent is away for longer than it may be');
  await silently(host.host, 'DEL', call);
  await silently(host.host, 'DEL', friend.call);
  assert.equal(host.reaches(stranger, web), false, 'what was closed without the agent opened nothing');
  using _ = await host.startAgent();
  assert.equal(host.reaches(stranger, web), true, 'it serves once what it has heard is in force');
});

testOnCluster('while the agent does not answer, DEL is code 11 and closes, and later succeeds', async (host, agent) => {
  // It may be stopped while it holds the node's lock, which DEL waits for.
  using pod = await host.run({ name: 'pod' }, { enforceTimeout: 5 });
  agent.child.kill('SIGSTOP');
  const { code, msg } = errorOf(await cni(host.host, 'DEL', pod.call));
  assert.equal(code, 11, msg);
  assert.equal(host.isThere(pod), false);
  agent.child.kill('SIGCONT');
  await silently(host.host, 'DEL', pod.call);
});

testOnCluster(
  'while the API server is away gates stay, and known pods can still be plugged in',
  async (host, agent) => {
    host.policy('web', fromFriends);
    using web = await host.run({ name: 'web', labels: role('web') });
    host.declare({ name: 'known', labels: role('friend') });
    host.declare({ name: 'stranger' });
    using stranger = await host.plugIn({ name: 'stranger' });
    host.api.refuseAll(true);
    for (const resource of ['pods', 'namespaces', 'networkpolicies', 'nodes']) host.api.end(resource, 'reset');
    await until('the agent to notice', () => agent.said(/Lost the watch of pods/));
    using known = await host.plugIn({ name: 'known' });
    assert.equal(host.reaches(known, web), true);
    assert.equal(host.reaches(stranger, web), false);
    const call = host.podCall({ name: 'unknown' }, await host.host.pod());
    assert.equal(errorOf(await cni(host.host, 'ADD', call)).code, 11);
    host.api.refuseAll(false);
    host.declare({ name: 'stranger', labels: role('friend') });
    await reaches(host, stranger, web, true);
  },
);

testOnCluster('a version that the server no longer knows is listed anew, and what went meanwhile goes', async host => {
  host.policy('web', fromFriends);
  using web = await host.run({ name: 'web', labels: role('web') });
  using friend = await host.run({ name: 'friend', labels: role('friend') });
  host.api.refuseAll(true);
  host.api.end('networkpolicies', 'half');
  host.api.remove('networkpolicies', 'web', 'default');
  host.policy('deny', denyAll);
  host.api.compact();
  host.api.refuseAll(false);
  await reaches(host, friend, web, false);
});

testOnCluster('a connection that a change forbids is cut, and one that it does not is kept', async host => {
  using web = await host.run({ name: 'web', labels: role('web') });
  using friend = await host.run({ name: 'friend', labels: role('friend') });
  using stranger = await host.run({ name: 'stranger' });
  assert.ok(host.reaches(friend, web) && host.reaches(stranger, web));
  const flowsOf = ({ addresses }: PluggedPod): number =>
    host.flows().filter(({ original }) => formatAddress(original.source) === formatAddress(addresses[4])).length;
  assert.ok(flowsOf(friend) > 0 && flowsOf(stranger) > 0);
  const kept = flowsOf(friend);
  host.policy('web', fromFriends);
  await until('the forbidden to be cut', () => flowsOf(stranger) === 0);
  assert.equal(flowsOf(friend), kept);
});

testOnCluster(
  'a tag that somebody took off is put on again, and a link that is put into quarantine is taken out',
  async (host, agent) => {
    using pod = await host.run({ name: 'pod' });
    const tag = host.groupOf(pod);
    for (const group of [0, quarantine]) {
      await host.host.sh(`ip link set ${pod.link} group ${group}`);
      await until('the tag to be back', () => host.groupOf(pod) === tag);
    }
    await until('it to be told', () => agent.said(/tags of pods' links: mended/));
  },
);

test('what somebody changes in a table that is not owned is mended as it is told, flushes included', async () => {
  await using room = await cluster();
  const { host } = room;
  using agent = await host.startAgent('--no-own-table');
  host.policy('deny', denyAll);
  using web = await host.run({ name: 'web' });
  using other = await host.run({ name: 'other' });
  const whole = await host.words();
  for (const damage of ['flush chain inet tollgate gate', 'flush map inet tollgate ingress_by_tag', 'flush ruleset']) {
    await host.host.sh(`nft ${damage}`);
    await until(
      `${damage} to be mended`,
      async () => (await host.host.sh('nft list tables')).includes('tollgate') && (await host.words()) === whole,
    );
    assert.equal(host.reaches(other, web), false);
  }
  await until('it to be told', () => agent.said(/Another program changed our table: mended/));
});

test('a table that an agent without ownership made is watched by the next one, which cannot own it, and says so', async () => {
  await using room = await cluster();
  const { host } = room;
  const first = await host.startAgent('--no-own-table');
  host.policy('deny', denyAll);
  using web = await host.run({ name: 'web' });
  using other = await host.run({ name: 'other' });
  const whole = await host.words();
  await host.killAgent(first);
  using agent = await host.startAgent();
  // The first may be found by the look that comes after the start.
  for (const which of ['first', 'second']) {
    await host.host.sh('nft flush table inet tollgate');
    await until(`the ${which} flush to be mended`, async () => (await host.words()) === whole);
    assert.equal(host.reaches(other, web), false);
  }
  assert.ok(agent.said(/made without an owner, and cannot get one/));
});

/** What another program does while no agent runs, to a table that is not owned; whether the next agent tells of it. */
const meanwhile: readonly (readonly [what: string, command: string, isTold: boolean])[] = [
  ['nothing', 'true', false],
  ['the table is flushed', 'nft flush table inet tollgate', true],
  ['the gate is flushed', 'nft flush chain inet tollgate gate', true],
  ['the table is deleted', 'nft delete table inet tollgate', true],
];

test('what another program did to the table while no agent ran is told by the next one; what the API says by then is not', async () => {
  await using room = await cluster();
  const { host } = room;
  host.policy('web', fromFriends);
  let agent = await host.startAgent('--no-own-table');
  using web = await host.run({ name: 'web', labels: role('web') });
  using friend = await host.run({ name: 'friend', labels: role('friend') });
  using stranger = await host.run({ name: 'stranger' });
  for (const [what, command, isTold] of meanwhile) {
    await reaches(host, friend, web, true);
    assert.equal(host.reaches(stranger, web), false, what);
    await host.killAgent(agent);
    await host.host.sh(command);
    // The API says something else by then.
    host.policy('web', denyAll);
    agent = await host.startAgent('--no-own-table');
    await reaches(host, friend, web, false);
    const isSaid = (): boolean => agent.said(/Another program changed our table: mended/);
    if (isTold) await until(`it to be told that ${what}`, isSaid);
    else assert.equal(isSaid(), false, what);
    host.policy('web', fromFriends);
  }
  agent[Symbol.dispose]();
});

/** Another program changes the table, and leaves its marker. */
const damages: readonly (readonly [what: string, command: string])[] = [
  ['the gate is flushed', 'nft flush chain inet tollgate gate'],
  ['the whole table is flushed', 'nft flush table inet tollgate'],
  ['a rule comes before all others', 'nft insert rule inet tollgate gate accept'],
  ['the table is put to sleep', "nft add table inet tollgate '{ flags dormant; }'"],
  ["the tags' entries are gone", 'nft flush map inet tollgate ingress_by_tag'],
  [
    "the chain that is the pod's own is flushed",
    `nft flush chain inet tollgate $(nft list map inet tollgate ingress_by_tag | grep -o 'in-[^ ,]*' | head -1)`,
  ],
];

test('an ADD puts right what another program changed in a table that is not owned before it opens its pod, and that is counted', async () => {
  await using room = await cluster();
  const { host } = room;
  const place = '127.0.0.1:9467';
  using agent = await host.startAgent('--no-own-table', '--metrics', place, '--log-level', 'debug');
  const mended = async (): Promise<number> =>
    Number(
      /^tollgate_mended_total\{what="table"\} (\d+)/m.exec(await host.host.sh(`curl -s http://${place}/metrics`))?.[1],
    );
  host.policy('web', fromFriends);
  using web = await host.run({ name: 'web', labels: role('web') });
  using stranger = await host.run({ name: 'stranger' });
  using friend = await host.run({ name: 'friend', labels: role('friend') });
  assert.equal(host.reaches(stranger, web), false);
  assert.equal(await mended(), 0);
  const whole = await host.words();
  let before = 0;
  for (const [i, [what, command]] of damages.entries()) {
    const heard = agent.lines.length;
    // The agent hears of the change no earlier than of the call.
    agent.child.kill('SIGSTOP');
    await host.host.sh(`${command}; nft add table inet another; nft delete table inet another`);
    const name = `next-${i}`;
    const adding = host.run({ name, labels: role('web') });
    // Connections that wait to be accepted.
    await until('the call to be sent', async () =>
      /u_str +LISTEN +[1-9].*cni\.sock/.test(await host.host.sh('ss -xlH')),
    );
    agent.child.kill('SIGCONT');
    using next = await adding;
    assert.equal(host.reaches(stranger, next), false, what);
    assert.equal(host.reaches(friend, next), true, what);
    const said = (): string[] => agent.lines.slice(heard).map(line => `${line.message} ${line.verb ?? ''}`);
    await until(`the log to tell of the ADD: ${what}`, () => said().includes('call ADD'));
    const at = said().findIndex(line => line.startsWith('Another program changed our table: mended'));
    assert.ok(at >= 0 && at < said().indexOf('call ADD'), `${what}: ${said().join('; ')}`);
    const now = await mended();
    assert.ok(now > before, `${what}: counted`);
    before = now;
    await next.unplug();
    assert.equal(await host.words(), whole, what);
  }
});

testOnCluster(
  'an owned table is passed over by a flush, and nobody else may change it; verify warns of one only when its owner has gone',
  async (host, agent) => {
    host.policy('deny', denyAll);
    using pod = await host.run({ name: 'web' });
    const whole = await host.words();
    await host.host.sh('nft flush ruleset');
    assert.equal(await host.words(), whole);
    const { exit } = await host.host.run(['nft', 'flush chain inet tollgate gate']);
    assert.equal(exit, 1);
    assert.ok(isIdentity(host.groupOf(pod)));
    const verified = async (): Promise<string> => (await host.type(['verify'])).stdout;
    assert.doesNotMatch(await verified(), /flush ruleset/);
    await host.killAgent(agent);
    await until('verify to warn of a flush', async () => (await verified()).includes('flush ruleset'));
  },
);

testOnCluster(
  'a second agent is told of the first, and one of another owner of the pods that are there',
  async (host, first) => {
    await assert.rejects(host.startAgent(), /Cannot be the agent of .*: process \d+ is/);
    using pod = await host.run({ name: 'pod' });
    await host.killAgent(first);
    await assert.rejects(host.startOther('/run/test/elsewhere'), ({ message }: Error) => {
      assert.match(message, /belongs to enforcer agent/);
      assert.doesNotMatch(message, /Cannot delete links/, 'of sockets that it has closed itself');
      return true;
    });
    assert.ok(isIdentity(host.groupOf(pod)));
  },
);

testOnCluster('what a call that died left behind is cleared away', async (host, first) => {
  using pod = await host.run({ name: 'pod' });
  await host.killAgent(first);
  await host.host.sh(`ip link delete ${pod.link}`);
  using agent = await host.startAgent();
  await until('its address to be free', () => agent.said(/Cleared away default\/pod: its interface is gone/));
  assert.doesNotMatch(await host.words(), new RegExp(`${formatAddress(pod.addresses[4]).replaceAll('.', '\\.')}\\b`));
});

testOnCluster('it ends when it is asked to, and rules stay', async (host, agent) => {
  using pod = await host.run({ name: 'pod' });
  const whole = await host.words();
  agent.child.kill('SIGTERM');
  await until('the agent to end', () => agent.child.exitCode !== null);
  assert.equal(agent.child.exitCode, 0);
  assert.equal(await host.words(), whole);
  assert.ok(isIdentity(host.groupOf(pod)));
});

/** Watches that are silent from now on, with a pod of a namespace that a policy closes. */
async function unheard(host: KubeHost, watches: readonly string[]): Promise<Call> {
  for (const resource of watches) host.api.silence(resource);
  host.namespace('new');
  host.policy('closed', denyAll, 'new');
  host.declare({ name: 'web', namespace: 'new' });
  return host.podCall({ name: 'web', namespace: 'new' }, await host.host.pod());
}

testOnCluster('the first pod of a namespace waits for policies of it that the watch has yet to tell of', async host => {
  using other = await host.run({ name: 'other' });
  const call = await unheard(host, ['namespaces', 'networkpolicies']);
  const plugged = add(host.host, call);
  await host.api.until(() => host.api.requests.some(({ path }) => path.endsWith('/namespaces/new/networkpolicies')));
  // The watch tells of a later state than the answer had.
  host.policy('closed', { ...denyAll, ingress: [] }, 'new');
  host.api.speak('networkpolicies');
  using web = new PluggedPod(host.host, 'web', call, await plugged);
  assert.equal(host.reaches(other, web), false, 'from the first packet on');
});

testOnCluster('a pod that its watch has not told of does not come up past a policy that is never told', async host => {
  const call = await unheard(host, ['pods', 'networkpolicies']);
  const { code, msg } = errorOf(await cni(host.host, 'ADD', call));
  assert.equal(code, 11);
  assert.match(msg, /^Cannot judge pod new\/web: the watch has not told of NetworkPolicy new\/closed/);
});
