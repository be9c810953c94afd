/** Help that teaches: every command has some, and every example in it runs. */
import assert from 'node:assert/strict';
import test, { after, suite } from 'node:test';
import { labelled, named } from '../support/cli-host.ts';
import { add, policies, startHost, tollgate } from '../support/cni.ts';

/** What examples may write to is the host's own here. */
const setup = `for d in /opt /usr/lib/cni; do if [ -d $d ]; then mount -t tmpfs tmpfs $d; fi; done
  mkdir -p /run/etc /run/bin /run/work/policies /run/work/new /run/work/old
  cp -a /etc/. /run/etc; mount --bind /run/etc /etc; rm -rf /etc/cni
  printf '#!/bin/sh\\nexec "$@"\\n' >/run/bin/sudo
  printf '#!/bin/sh\\ncat /run/work/policies/*.yaml\\n' >/run/bin/kubectl
  chmod +x /run/bin/*`;
const host = await startHost({ setup });
after(() => host[Symbol.dispose]());

const policy = `apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { name: web, namespace: shop }
spec: { podSelector: { matchLabels: { app: web } }, ingress: [{ ports: [{ port: 80 }] }] }
`;
const pod = (name: string) => `apiVersion: v1
kind: Pod
metadata: { name: ${name}, namespace: shop, labels: { app: ${name} } }
---
`;
for (const folder of ['/run/work/policies', '/run/work/old', policies]) host.write(`${folder}/web.yaml`, policy);
for (const file of ['policies/pods.yaml', 'new/web.yaml', 'new.yaml'])
  host.write(`/run/work/${file}`, `${pod('web')}${pod('db')}${file.startsWith('new') ? policy : ''}`);
await host.sh(`ln -s ${tollgate} /run/bin/tollgate`);
for (const name of ['web', 'db'])
  await add(host, {
    config: labelled({ app: name }, { runDir: '/run/tollgate' }),
    containerID: name,
    netns: await host.pod(),
    args: named('shop', name),
  });

const type = (line: string) =>
  host.run(['bash', '--norc', '-c', line], { env: { PATH: '/run/bin:/usr/sbin:/usr/bin:/sbin:/bin' } });
const inWork = (line: string) => type(`set -o pipefail; cd /run/work && ${line}`);

interface Help {
  readonly commands: readonly string[];
  readonly examples: readonly string[];
}

const section = (help: string, name: string): string[] =>
  (help.split(`\n${name}:\n`)[1] ?? '')
    .split('\n\n')[0]!
    .split('\n')
    .filter(line => line.startsWith('  '))
    .map(line => line.trim().split(/ {2,}/)[0]!);

async function helpOf(command: string): Promise<Help> {
  const { exit, stdout, stderr } = await type(`${command} --help`);
  assert.equal(exit, 0, stderr);
  assert.equal(stderr, '');
  return { commands: section(stdout, 'Commands'), examples: section(stdout, 'Examples') };
}

/** Of every command that does something, by its full name. */
async function leaves(command: string): Promise<Map<string, Help>> {
  const help = await helpOf(command);
  if (help.commands.length === 0) return new Map([[command, help]]);
  const below = await Promise.all(help.commands.map(line => leaves(line.replace(/ [[<].*$/, ''))));
  return new Map(below.flatMap(map => [...map]));
}

const all = await leaves('tollgate');

test('every command is there', () => {
  const designed = [
    'policy lint',
    'policy matrix',
    'policy apply',
    'pods',
    'gc',
    'verify',
    'install',
    'demo',
    'version',
  ];
  for (const name of designed) assert.ok(all.has(`tollgate ${name}`), `tollgate ${name} is not in the help`);
});

suite('every command shows examples, and each of them runs', () => {
  for (const [command, { examples }] of all) {
    if (command === 'tollgate version') continue;
    // These listen until they are stopped, or need a cluster, an agent, or a network of this node.
    if (/ (agent|flows|status|suggest|connectivity test)$/.test(command)) continue;
    test(command, async () => {
      assert.ok(examples.length >= 2, 'fewer than two examples');
      for (const line of examples.filter(example => !example.includes(' --cluster'))) {
        const { exit, stdout, stderr } = await inWork(line);
        assert.ok(exit === 0 || exit === 1, `${line}: exit ${exit}\n${stdout}${stderr}`);
        if (!line.includes(' > ')) assert.notEqual(stdout, '', `${line} says nothing`);
        if (line.includes('-o json')) JSON.parse(stdout);
      }
    });
  }
});

suite('wrong usage is exit code 2, said in one line on stderr', () => {
  const lines = [
    'tollgate',
    'tollgate frobnicate',
    'tollgate policy',
    'tollgate policy matrix',
    'tollgate policy matrix --port 70000/TCP -f -',
    'tollgate pods --outptu json',
    'tollgate pods -o yaml',
    'tollgate policy lint -f',
    'tollgate flows --last ten',
    'tollgate flows --last -1',
    'tollgate flows --denied --seconds 1e12',
    'tollgate flows --seconds 5',
    'tollgate flows --denied --follow --seconds 5',
    'tollgate flows --denied --since 1m --seconds 5',
    'tollgate flows --since 1m --since 2m',
    'tollgate flows -o json -o text',
    'tollgate flows --run-dir /run/a --run-dir /run/b',
    'tollgate install --kubernetes --mtu big',
    'tollgate agent --no-kubernetes --nflog-group 99999',
    'tollgate agent --kubeconfig /dev/null --node=',
    'tollgate agent --no-kubernetes --flows --metrics 0.0.0.0:9467 --ui 127.0.0.1:9467',
    'tollgate install --kubernetes --force',
    'tollgate agent --kubeconfig= --node n1',
    'tollgate connectivity test --host-port 0',
  ];
  for (const line of lines)
    test(line, async () => {
      const { exit, stdout, stderr } = await type(line);
      assert.equal(exit, 2, stderr);
      assert.equal(stdout, '');
      assert.match(stderr, /^tollgate: .+/);
    });
});
