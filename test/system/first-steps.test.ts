/** A node from nothing to its first pods: `tollgate verify` says at each point what comes next, and it is so. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runDir, startHost, tollgate } from '../support/cni.ts';
import type { Host } from '../support/host.ts';

const folders = ['--bin-dir', '/run/work/bin', '--conf-dir', '/run/work/net.d'];
const conflist = '/run/work/net.d/10-tollgate.conflist';

/** The commands write where a user has it, into a copy of /etc without what this machine has of a network for pods. */
const setup =
  'mkdir -p /run/etc; cp -a /etc/. /run/etc; rm -rf /run/etc/tollgate /run/etc/cni; mount --bind /run/etc /etc';

const verify = (host: Host, ...more: readonly string[]) =>
  host.must([tollgate, 'verify', ...folders, '--run-dir', runDir, ...more]);
const nextOf = async (host: Host): Promise<readonly string[]> =>
  (JSON.parse(await verify(host, '-o', 'json')) as { next: string[] }).next;

test('on a fresh node: install, look at the ranges, try it, plug pods in; then nothing', async () => {
  using host = await startHost({ setup });
  const said = await verify(host);
  const lint = [tollgate, 'policy', 'lint', '--run-dir', runDir];
  assert.equal(await host.must(lint), '0 documents, no errors.\n');
  const gone = await host.run([...lint, '-f', '/nowhere']);
  assert.deepEqual(
    [gone.exit, gone.stderr],
    [3, 'tollgate: Cannot read /nowhere: ENOENT (no such file or directory)\n'],
  );
  const steps = said.slice(said.indexOf('No pod is plugged in. Next:'));
  assert.match(
    steps,
    / {2}1\. `tollgate install` puts the plugin into \/run\/work\/bin and writes the network.*\n {2}2\. Look at the address ranges.*\n {2}3\. `tollgate connectivity test`.*\n {2}4\. Plug pods in/,
  );
  await host.must([tollgate, 'install', ...folders, '--run-dir', runDir]);
  const next = await nextOf(host);
  assert.equal(next.length, 3, next.join('\n'));
  assert.match(next.join('\n'), /^Look at the address ranges in \/run\/work\/net.d\/10-tollgate.conflist/);
  await host.must([tollgate, 'connectivity', 'test', ...folders]);
  assert.deepEqual(host.files('/etc/tollgate'), []);
  await host.sh('test ! -e /etc/tollgate');
  const script = `ip netns add pod; CNI_COMMAND=ADD CNI_CONTAINERID=pod CNI_NETNS=/run/netns/pod CNI_IFNAME=eth0 CNI_PATH=/run/work/bin \
    /run/work/bin/tollgate <<<"$(node -e 'const { plugins: [plugin], ...list } = JSON.parse(require("fs").readFileSync("${conflist}")); console.log(JSON.stringify({ ...list, ...plugin }))')"`;
  await host.sh(script);
  assert.deepEqual(await nextOf(host), []);
});

const partly: readonly (readonly [what: string, script: string, first: RegExp])[] = [
  ['the plugin is there, and no network', `rm ${conflist}`, /^`tollgate install` writes the network/],
  ['a network is there, and no plugin', 'rm /run/work/bin/tollgate', /^`tollgate install` puts the plugin into/],
  ['another network comes first', `echo '{"name":"b","type":"bridge"}' >/run/work/net.d/05-b.conf`, /^Look at/],
];
for (const [what, script, first] of partly)
  test(`where ${what}`, async () => {
    using host = await startHost({ setup });
    await host.must([tollgate, 'install', ...folders, '--run-dir', runDir]);
    await host.sh(script);
    const next = await nextOf(host);
    assert.match(next[0]!, first);
    assert.equal(
      next.some(step => step.includes('05-b.conf: move it away')),
      what.startsWith('another'),
    );
  });

test('what the node lacks comes before all steps', async () => {
  using host = await startHost({
    setup: `${setup}; nft 'add table ip other; add chain ip other forward { type filter hook forward priority 0; policy drop; }'`,
  });
  const { exit, stdout } = await host.run([tollgate, 'verify', ...folders, '--run-dir', runDir]);
  assert.equal(exit, 1);
  assert.match(stdout, /^Lacks:[\s\S]*Once this node has what it lacks:\n {2}1\. /);
});

test('on the node of an agent there are none', async () => {
  using host = await startHost({ setup });
  await host.sh(`mkdir -p ${runDir}; touch ${runDir}/agent.seen`);
  assert.deepEqual(await nextOf(host), []);
});
