/** `tollgate sysdump`: all that a maintainer asks for is in the archive, and nothing that can be a secret. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import test, { after } from 'node:test';
import { gunzipSync } from 'node:zlib';
import { extract } from 'tar-stream';
import { labelled, named } from '../support/cli-host.ts';
import { add, policies, runDir, startHost, stateDir, tollgate } from '../support/cni.ts';

const host = await startHost();
after(() => host[Symbol.dispose]());

const conf = '/run/work/net.d';
const SECRET = 'hunter2-is-a-secret';

/** Text by path, without the archive's own folder. */
async function filesOf(bytes: Buffer): Promise<ReadonlyMap<string, string>> {
  const files = new Map<string, string>();
  const reader = extract();
  reader.end(gunzipSync(bytes));
  for await (const entry of reader) {
    const chunks: Buffer[] = [];
    for await (const chunk of entry) chunks.push(chunk as Buffer);
    files.set(entry.header.name.replace(/^[^/]+\//, ''), Buffer.concat(chunks).toString());
  }
  return files;
}

const places = ['--run-dir', runDir, '--state-dir', stateDir, '--policies', policies, '--conf-dir', conf];

async function sysdump(): Promise<ReadonlyMap<string, string>> {
  const path = '/run/work/dump.tar.gz';
  await host.must([tollgate, 'sysdump', ...places, '--output', path]);
  return filesOf(readFileSync(host.path(path)));
}

host.write(
  `${policies}/world.yaml`,
  `apiVersion: v1
kind: Secret
metadata: { name: key, namespace: shop }
stringData: { key: ${SECRET} }
---
apiVersion: v1
kind: Pod
metadata: { name: db, namespace: shop, labels: { app: db }, annotations: { note: ${SECRET} } }
spec:
  containers: [{ name: db, image: 'db:${SECRET}', args: [${SECRET}], env: [{ name: KEY, value: ${SECRET} }], ports: [{ name: pg, containerPort: 5432 }] }]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { name: web, namespace: shop }
spec: { podSelector: { matchLabels: { app: web } }, ingress: [] }
`,
);
await host.sh(`mkdir -p ${conf}`);
host.write(
  `${conf}/05-other.conf`,
  JSON.stringify({ name: 'other', type: 'bridge', apiToken: SECRET, nested: [{ password: SECRET }] }),
);
await add(host, {
  config: labelled({ app: 'web' }),
  containerID: 'web',
  netns: await host.pod(),
  args: named('shop', 'web'),
});

test('versions, verify, pods, policies, table, links, routes, networks and manifests are in it', async () => {
  const files = await sysdump();
  const said: Readonly<Record<string, RegExp>> = {
    'tollgate/version': /"version"/,
    'tollgate/status': /exit code 3/,
    'tollgate/verify': /"differences"/,
    'tollgate/pods': /shop\/web/,
    'tollgate/policies': /NetworkPolicy\/shop\/web/,
    'tollgate/table.nft': /table inet tollgate/,
    'tollgate/links-and-routes.json': /tollgate:shop\/web/,
    'tollgate/manifests-of-folder.json': /NetworkPolicy/,
    'node/networks.json': /05-other\.conf/,
    'node/sysctls': /net\/ipv4\/ip_forward = 1/,
    'node/links.json': /"ifname"/,
    'node/ruleset.nft': /chain/,
    'node/proc/version': /Linux/,
  };
  for (const [path, pattern] of Object.entries(said)) assert.match(files.get(path) ?? '(not there)', pattern, path);
});

test('no Secret, environment, argument, image, annotation or token is in it; what tollgate reads of a pod is', async () => {
  const files = await sysdump();
  for (const [path, text] of files) assert.ok(!text.includes(SECRET), `${path} holds the secret`);
  const manifests = files.get('tollgate/manifests-of-folder.json')!;
  assert.match(manifests, /5432/);
  assert.match(manifests, /of another kind: left out/);
  assert.match(files.get('node/networks.json')!, /left out/);
});

test('- writes it to stdout and nothing else there', async () => {
  const written = await host.sh(`${tollgate} sysdump ${places.join(' ')} -o - | tar -tz | head -3`);
  assert.match(written, /^tollgate-sysdump-/);
});

test('only root may read it', async () => {
  await sysdump();
  assert.equal((await host.sh('stat -c %a /run/work/dump.tar.gz')).trim(), '600');
});

test('what cannot be read is said in it, and keeps nothing else out', async () => {
  await host.sh('nft delete table inet tollgate; mkfifo /run/work/net.d/10-pipe.conf');
  const files = await sysdump();
  assert.equal(files.has('tollgate/table.nft'), false);
  assert.match(files.get('node/networks.json')!, /no regular file/);
  assert.match(files.get('tollgate/verify')!, /is gone/);
});

test('of a cluster without kubectl it says what to do', async () => {
  const { exit, stderr } = await host.run(['/usr/bin/env', 'PATH=/nowhere', tollgate, 'sysdump', '--cluster']);
  assert.equal(exit, 3);
  assert.match(stderr, /Cannot run kubectl: .*install it/);
});

test('where it cannot be written is told', async () => {
  for (const [path, code, said] of [
    ['/nowhere/dump.tar.gz', 3, /^tollgate: Cannot write the archive: ENOENT: .*\/nowhere\/dump\.tar\.gz/],
    ['/dev/full', 3, /^tollgate: Cannot write the archive: ENOSPC: /],
    ['', 2, /^tollgate: Cannot use an empty path/],
  ] as const) {
    const { exit, stderr } = await host.run([tollgate, 'sysdump', ...places, '--output', path]);
    assert.equal(exit, code, stderr);
    assert.match(stderr, said);
  }
});
