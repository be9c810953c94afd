/** The README's commands, typed as they stand there on a host of the test's own, with the default folders. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import test, { after, before } from 'node:test';
import { startAgent } from '../support/agent-process.ts';
import { named } from '../support/cli-host.ts';
import { add, silently, tollgate } from '../support/cni.ts';
import { Host } from '../support/host.ts';

const readme = readFileSync(new URL('../../README.md', import.meta.url), 'utf8');
const [, chapter = ''] = readme.split('## Ask it\n');
const commands = /```sh\n([\s\S]*?)```/.exec(chapter)![1]!.trim().split('\n');

/**
 * What is not the default: 0. The stranger is refused, taking the policy away would open something, nothing is staged, and pods
 * are still here. Two want what this host has not: flows that were seen of a pod, and a network in /etc/cni/net.d
 * (test/system/flows and cli-connectivity have them).
 */
const expected: readonly [RegExp, number][] = [
  [/policy explain/, 1],
  [/policy diff --staged/, 0],
  [/policy suggest/, 3],
  [/connectivity test/, 3],
  [/policy diff/, 1],
  [/uninstall/, 1],
];
/** Asks an agent that records. */
const recorded = /flows --since/;
/** Ends by itself only when somebody ends it. */
const endless = /--follow/;

const policy = (peer: string) => `apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { name: web, namespace: shop }
spec:
  podSelector: { matchLabels: { app: web } }
  ingress: [{ from: [{ podSelector: { matchLabels: { app: ${peer} } } }], ports: [{ port: 80, protocol: TCP }] }]
`;

let host: Host;
const pods: { config: object; containerID: string; netns: string; ifname: string; args: string }[] = [];
before(async () => {
  host = await Host.start({
    pids: true,
    setup:
      'mount -t tmpfs tmpfs /etc; mkdir -p /etc/tollgate/policies; mount -t tmpfs tmpfs /tmp; mkdir -p /tmp/policies',
  });
  await host.sh(
    `cat > /etc/tollgate/policies/web.yaml <<'E'\n${policy('frontend')}E\ncat > /tmp/policies/web.yaml <<'E'\n${policy('stranger')}E`,
  );
  for (const name of ['web', 'frontend', 'stranger']) {
    const pod = {
      config: {
        ...{ cniVersion: '1.1.0', name: 'tollgate', type: 'tollgate', ipMasq: true },
        ipam: { type: 'tollgate-ipam', ranges: [[{ subnet: '10.88.0.0/16' }], [{ subnet: 'fd88::/64' }]] },
        runtimeConfig: { labels: { app: name } },
      },
      containerID: name,
      netns: await host.pod(),
      ifname: 'eth0',
      args: named('shop', name),
    };
    await add(host, pod as Parameters<typeof add>[1]);
    pods.push(pod);
  }
});
after(async () => {
  for (const pod of pods) await silently(host, 'DEL', pod as Parameters<typeof add>[1]);
  host[Symbol.dispose]();
});

assert.ok(commands.length >= 10, 'the README has its chapter of commands');
for (const line of commands) {
  const [typed = ''] = line.split('#');
  test(`\`${typed.trim()}\` does what it says`, async () => {
    const line = typed.trim().replace(/^tollgate/, tollgate);
    // With the shell's quotes, as a person types it.
    using _ = recorded.test(typed)
      ? await startAgent(host, [tollgate, 'agent', '--no-kubernetes', '--flows'])
      : undefined;
    const command = [
      ...(endless.test(typed) ? ['timeout', '--signal=INT', '2'] : []),
      'bash',
      '--norc',
      '-c',
      `exec ${line}`,
    ];
    const { exit, stdout, stderr } = await host.run(['env', '-C', '/tmp', 'SHELL=/bin/bash', ...command]);
    const want = endless.test(typed) ? [0, 124] : [expected.find(([which]) => which.test(typed))?.[1] ?? 0];
    assert.ok(want.includes(exit!), `exit code ${exit}\n${stdout}${stderr}`);
    // There is nothing to take away, and no connection was tried.
    if (!endless.test(typed) && !recorded.test(typed) && !/gc$/.test(typed.trim()))
      assert.notEqual(stdout + stderr, '');
  });
}
