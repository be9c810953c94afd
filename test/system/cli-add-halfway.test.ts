/** What the commands say of an ADD that has made its link, and has not yet written whose it is. */
import assert from 'node:assert/strict';
import test, { after } from 'node:test';
import { formatAlias } from '../../lib/tag/alias.ts';
import { hostInterfaceName } from '../../lib/tag/link-name.ts';
import { quarantine } from '../../lib/tag/tag.ts';
import { labelled, live, named, type, typeJson } from '../support/cli-host.ts';
import { add, type Json, runDir, startHost, stateDir, tollgate } from '../support/cni.ts';

const host = await startHost();
after(() => host[Symbol.dispose]());
await add(host, {
  config: labelled({ app: 'web' }),
  containerID: 'web',
  netns: await host.pod(),
  args: named('shop', 'web'),
});

const owner = { network: 'net', containerID: 'c2', ifname: 'eth0' };
const link = hostInterfaceName(owner);
const alias = formatAlias({ namespace: 'shop', pod: 'front', containerID: owner.containerID });
const [folder] = (await host.run(['sh', '-c', `echo ${stateDir}/boot-*/net/attachments`])).stdout.trim().split(' ');
const record = `${folder}/${owner.containerID}:${owner.ifname}`;
host.write(record, `\n${JSON.stringify({ ...owner, phase: 'adding', kind: 'veth' })}\n`);
await host.run([
  'sh',
  '-ec',
  `ip link add ${link} group ${quarantine} type veth peer name halfway
  ip link set ${link} alias '${alias}'`,
]);

/** While the lock is held that an ADD holds on its record. */
const duringAdd = (args: readonly string[]) =>
  host.run(['flock', '--close', record, tollgate, ...args, ...live, '-o', 'json']);

interface Row {
  readonly name: string;
  readonly standing: string;
  readonly interface: string;
  readonly why?: string;
}
const standings = (rows: readonly Row[]) =>
  rows.filter(each => each.interface === link).map(({ standing }) => standing);
const isThere = async () => (await host.run(['ip', 'link', 'show', link])).exit === 0;

test('verify names no difference', async () => {
  const { exit, stdout, stderr } = await duringAdd(['verify']);
  assert.equal(exit, 0, stdout + stderr);
  assert.deepEqual((JSON.parse(stdout) as { differences: Json[] }).differences, []);
});

test('pods names the link once: a call for it is under way, and of which process', async () => {
  const { stdout } = await duringAdd(['pods']);
  const rows = JSON.parse(stdout) as Row[];
  assert.deepEqual(standings(rows), ['busy']);
  // `flock --close` stays beside the command, and its lock is what an ADD's is.
  const { why } = rows.find(each => each.interface === link)!;
  assert.match(String(why), /^a call for it is under way; process \d+ \(flock .*\) holds it$/);
});

test('gc --force leaves the link', async () => {
  const { exit, stdout, stderr } = await duringAdd(['gc', '--force']);
  assert.equal(exit, 0, stdout + stderr);
  assert.ok(await isThere());
});

test('once the ADD has died, its link goes with its record, unforced', async () => {
  assert.deepEqual(standings(await typeJson<Row[]>(host, ['pods'], 0)), ['dead']);
  assert.equal((await type(host, ['gc'])).exit, 0);
  assert.equal(await isThere(), false);
  assert.deepEqual(standings(await typeJson<Row[]>(host, ['pods'], 0)), []);
});

test('verify names no difference during the first ADD, which has yet to make the table', async () => {
  using first = await startHost();
  const containerID = 'first';
  await add(first, { config: labelled({ app: 'web' }), containerID, netns: await first.pod() });
  const record = first.files(stateDir).find(path => path.includes('/attachments/'))!;
  // As before the pod was judged.
  await first.sh(`nft delete table inet tollgate; rm ${runDir}/*.node
    ip link set ${hostInterfaceName({ ...owner, containerID })} group ${quarantine}
    printf '\\n{"phase":"adding"}\\n' >>${record}`);
  const verify = [tollgate, 'verify', ...live, '-o', 'json'];
  const { exit, stdout, stderr } = await first.run(['flock', '--close', record, ...verify]);
  assert.equal(exit, 0, stdout + stderr);
});
