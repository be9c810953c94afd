/**
 * What others wrote reaches no terminal as it is: commands about a node show it by the one door, whichever place it comes from.
 */
import assert from 'node:assert/strict';
import test, { after, suite } from 'node:test';
import { labelled, named, type } from '../support/cli-host.ts';
import { add, type Call, cni, policies, runDir, startHost, stateDir } from '../support/cni.ts';
import { tagged } from '../support/snapshot.ts';
import { until } from '../support/until.ts';

const host = await startHost();
after(() => host[Symbol.dispose]());

/** Clears a terminal, turns the direction of writing, begins a line of its own. */
const hostile = '\x1b[2J\u202e\nevil';
const shown = /\\u001b\[2J/;
/** A character that a terminal obeys; of a line feed in a text nothing can be seen but a line that does not begin as ours do. */
const raw = /(?!\n)[\p{Cc}\p{Cf}]|^evil/mu;

async function plug(name: string, labels: Record<string, string>): Promise<Call & { netns: string }> {
  const call = { config: labelled(labels), containerID: name, netns: await host.pod(), args: named('shop', name) };
  await add(host, call);
  return call;
}

const policy = (name: string) => ({
  ...{ apiVersion: 'networking.k8s.io/v1', kind: 'NetworkPolicy', metadata: { namespace: 'shop', name } },
  spec: { podSelector: { matchLabels: { app: 'web' } } },
});

await plug('web', { app: 'web' });
const front = await plug('front', { app: 'front' });
await plug('unknown', {});

const isOf = (name: string) => async (): Promise<string> =>
  (await tagged(host)).find(({ alias }) => alias?.includes(`shop/${name}`))!.name;
const linkOf = { web: await isOf('web')(), unknown: await isOf('unknown')() };

/** What each command is to show of the others' words, and what is done before it is typed. */
const commands: readonly (readonly [args: readonly string[], shows: RegExp, before?: () => Promise<unknown>])[] = [
  [
    ['policy', 'apply', '--dry-run'],
    shown,
    async () => host.write(`${policies}/p.yaml`, JSON.stringify(policy(hostile))),
  ],
  [['policy', 'apply', '--dry-run', '-o', 'json'], shown],
  [['policy', 'apply'], shown],
  [['policy', 'apply', '-o', 'json'], shown],
  [['policy', 'list'], shown],
  [['policy', 'explain', '--from', 'shop/front', '--to', 'shop/web', '--port', '80'], shown],
  [['pods', '-o', 'wide'], shown, misplace],
  [['pods', '-o', 'json'], shown],
  [['flows', '--denied', '--seconds', '2'], shown, ping],
  [['flows', '--denied', '--seconds', '2', '-o', 'json'], shown],
  [['verify'], shown, () => host.run(['ip', 'link', 'set', linkOf.web, 'alias', hostile])],
  [['verify', '-o', 'json'], shown],
  [['verify', '--repair'], shown],
  [['pods'], shown, forget],
  [['gc'], /left: link/],
  [['gc', '-o', 'json'], /"unknown": \[\n/],
  [['verify'], /neither a record nor the node's state knows/],
  [['gc', '--force'], /removed: link/],
  [['status'], /./],
];

/** Sends to the pod that may not be called, from now on. */
async function ping(): Promise<void> {
  host.keep(host.spawn(['sh', '-c', 'exec ping -q -i 0.1 10.77.0.2 >/dev/null'], { netns: front.netns }));
  await until('the first of them', async () => (await host.sh('cat /proc/net/snmp', front.netns)).includes('OutType8'));
}

/** Puts words into a record that the plugin did not write. */
async function misplace(): Promise<void> {
  const input = `\n${JSON.stringify({ netns: `/run/${hostile}` })}\n`;
  await host.run(['sh', '-c', `cat >>$(echo ${stateDir}/boot-*/net/attachments/web:eth0)`], { input });
}

/** A link whose pod nobody knows any more, and whose alias says what its author wants. */
async function forget(): Promise<void> {
  await host.run(['ip', 'link', 'set', linkOf.unknown, 'alias', `tollgate:shop/${encodeURIComponent(hostile)}:x`]);
  await host.sh(
    `rm -f ${stateDir}/boot-*/net/attachments/unknown:eth0 ${stateDir}/boot-*/net/claims/*; rm ${runDir}/*.node`,
  );
}

suite('words of others', () => {
  for (const [args, shows, before] of commands)
    test(`are shown by \`tollgate ${args.join(' ')}\` without a character that a terminal obeys`, async () => {
      await before?.();
      const { stdout, stderr } = await type(host, args);
      assert.match(stdout + stderr, shows);
      assert.doesNotMatch(stdout + stderr, raw);
    });

  test('are in the error of an ADD as JSON has them', async () => {
    const call = { config: labelled({ [hostile]: 'x' }), containerID: 'refused', netns: await host.pod() };
    const { stdout, stderr } = await cni(host, 'ADD', call);
    assert.match(stdout, /\\u202e/);
    assert.doesNotMatch(stdout + stderr, raw);
  });
});
