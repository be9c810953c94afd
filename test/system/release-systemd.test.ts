/** The package and its units under a real systemd. */
import assert from 'node:assert/strict';
import { text } from 'node:stream/consumers';
import { after, test } from 'node:test';
import { callAllTheTime, deb, fileOf, lacks, Packaged, removeGroup } from '../support/packaged.ts';

after(removeGroup);

test('under systemd an upgrade replaces the agent: no call fails meanwhile, and no packet is lost', {
  skip: lacks(deb),
}, async () => {
  using node = await Packaged.startBooted();
  await node.host.sh(`cp ${fileOf(deb)} /run/new.deb`);
  await node.sh(deb.older);
  await node.sh(deb.install);
  await node.sh('tollgate install; systemctl enable --now tollgate-agent.socket tollgate-agent.service');
  const agent = async () => (await node.sh('systemctl show -p MainPID --value tollgate-agent')).trim();
  const before = await agent();
  await node.plugIn('open', 'web');
  await node.plugIn('open', 'client');
  const ping = node.spawn(`ip netns exec ${node.netnsOf('client')} ping -n -i 0.02 ${node.addressOf('web')}`);
  const said = text(ping.stdout!);
  const { env, input } = node.callOf('ADD', 'open', 'come-and-go', await node.host.pod());
  node.host.write('/run/call', input);
  const variables = Object.entries(env)
    .map(([name, value]) => `${name}='${value}'`)
    .join(' ');
  const call = (verb: string) => `env ${variables} CNI_COMMAND=${verb} /opt/cni/bin/tollgate </run/call`;
  const ended = callAllTheTime(node, `${call('ADD')} && ${call('DEL')}`);
  await node.sh(deb.upgrade);
  assert.notEqual(await agent(), before);
  assert.equal(
    (await node.sh('systemctl is-active tollgate-agent.socket tollgate-agent.service')).trim(),
    'active\nactive',
  );
  const { calls, failures } = await ended();
  assert.deepEqual({ called: calls > 0, failures }, { called: true, failures: [] });
  await node.sh('pkill -INT -x ping');
  const answered = [...(await said).matchAll(/icmp_seq=(\d+) ttl/g)].map(([, number]) => Number(number));
  assert.deepEqual(
    answered,
    [...answered.keys()].map(i => i + 1),
  );
  // The last one may be under way when ping is told to end.
  const [, sent] = /^(\d+) packets transmitted/m.exec(await said) ?? assert.fail(await said);
  assert.ok(Number(sent) - answered.length <= 1, `${sent} sent, ${answered.length} answered`);
  await node.sh(`${deb.remove} 2>&1`);
  assert.equal(
    (await node.run('systemctl is-active tollgate-agent.socket tollgate-agent.service')).stdout,
    'inactive\ninactive\n',
  );
});
