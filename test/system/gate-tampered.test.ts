/** Another program changes our table, and leaves its marker: no pod is opened before what judges it is in force again. */
import assert from 'node:assert/strict';
import test, { after, before, suite } from 'node:test';
import { command as serving, startAgent } from '../support/agent-process.ts';
import { cni } from '../support/cni.ts';
import { onlyFrom, type PluggedPod, PolicyHost, pods, policy } from '../support/policy-host.ts';
import { until } from '../support/until.ts';
import type { Way } from '../support/way.ts';

const role = (name: string) => ({ labels: { role: name } });

/** The handle of the rule of this chain that has these words. */
const ruleOf = (chain: string, words: string): string =>
  `nft -a list chain inet tollgate ${chain} | sed -n 's/.*${words}.*handle //p'`;
/** The chain that the victim's tag leads to, and the set of friends that it looks into. */
const ownChain = `nft list map inet tollgate ingress_by_tag | grep -o 'goto in-[^ ,]*' | head -1 | cut -d' ' -f2`;
const friends = `nft list chain inet tollgate $(${ownChain}) | grep -o '@[^ ]*' | head -1 | tr -d @`;
const tag = `nft -n list map inet tollgate ingress_by_tag | grep -o '[0-9]\\{10\\}[^,]*: goto in-' | head -1 | cut -d' ' -f1`;

/** What somebody does, and whether it opens the victim. */
const changes: readonly (readonly [what: string, command: string])[] = [
  ['the table is flushed', 'nft flush table inet tollgate'],
  ['the ruleset is flushed', 'nft flush ruleset'],
  ['the gate is flushed', 'nft flush chain inet tollgate gate'],
  ['the chain before conntrack is flushed', 'nft flush chain inet tollgate raw'],
  ['the rules of ingress are flushed', 'nft flush chain inet tollgate ingress'],
  ['a rule is deleted', `nft delete rule inet tollgate gate handle $(${ruleOf('gate', 'jump ingress')})`],
  ['a rule is put before all others', 'nft insert rule inet tollgate gate accept'],
  ['a rule is replaced', `nft replace rule inet tollgate gate handle $(${ruleOf('gate', 'jump ingress')}) accept`],
  [
    'the end of what the pod is judged by is replaced',
    `c=$(${ownChain}); nft replace rule inet tollgate $c handle $(nft -a list chain inet tollgate $c | sed -n 's/.*drop.*handle //p') counter accept`,
  ],
  ['the table is put to sleep', "nft add table inet tollgate '{ flags dormant; }'"],
  ['what the pod is judged by is flushed', `nft flush chain inet tollgate $(${ownChain})`],
  ["the tag's entry is deleted", `nft delete element inet tollgate ingress_by_tag { $(${tag}) }`],
  [
    "the tag's entry leads elsewhere",
    `t=$(${tag}); nft "delete element inet tollgate ingress_by_tag { $t }; add element inet tollgate ingress_by_tag { $t : return }"`,
  ],
  ['a set of peers loses its elements', `s=$(${friends}); nft flush set inet tollgate $s`],
  ['a set of peers gains one', `s=$(${friends}); nft add element inet tollgate $s { 10.77.0.1 }`],
];

/** Others commit all the time in tables of their own. */
const noise = 'nft add table inet somebody-else; nft delete table inet somebody-else';

const start = async (way: Way = 'alone'): Promise<{ host: PolicyHost; stranger: PluggedPod; friend: PluggedPod }> => {
  const host = await PolicyHost.start({ way });
  host.put('only.yaml', onlyFrom('only', { role: 'victim' }, { role: 'friend' }));
  host.put('other.yaml', policy('other', { ...pods({ role: 'other' }), policyTypes: ['Ingress', 'Egress'] }));
  await host.plug('first', role('victim'));
  const [stranger, friend] = [await host.plug('stranger'), await host.plug('friend', role('friend'))];
  return { host, stranger, friend };
};

for (const isNoisy of [false, true])
  suite(isNoisy ? 'the next ADD finds it out, though others commit as well' : 'the next ADD finds it out', () => {
    let host: PolicyHost;
    let stranger: PluggedPod;
    let friend: PluggedPod;
    let whole: string;
    before(async () => {
      ({ host, stranger, friend } = await start());
      whole = await host.words();
    });
    after(() => host[Symbol.dispose]());

    for (const [what, command] of changes)
      test(what, async () => {
        if (isNoisy) {
          await host.host.sh(noise);
          await (await host.plug('between', role('victim'))).unplug();
        }
        await host.host.sh(command);
        if (isNoisy) await host.host.sh(noise);
        const call = host.callOf('second', await host.host.pod(), role('victim'));
        const added = await cni(host.host, 'ADD', call);
        assert.equal(added.exit, 0, added.stdout);
        assert.match(added.stderr, /is put right/);
        using second = host.plugged('second', call, added);
        assert.ok(!host.reaches(stranger, second), 'who may not');
        assert.ok(host.reaches(friend, second), 'who may');
        assert.equal((await host.type(['verify'])).exit, 0);
        await second.unplug();
        assert.equal(await host.words(), whole, 'as it was');
      });
  });

suite('so do others', () => {
  test('an ADD of an identity that is new, a DEL and `policy apply` find it out as well', async () => {
    const { host, stranger } = await start();
    using _ = host;
    const flush = () => host.host.sh('nft flush chain inet tollgate gate');
    const whole = await host.words();
    await flush();
    using other = await host.plug('other', role('other'));
    assert.ok(!host.reaches(stranger, other));
    await flush();
    await other.unplug();
    assert.equal(await host.words(), whole, 'after DEL');
    await flush();
    assert.match(await host.apply(), /In force/);
    assert.equal(await host.words(), whole, 'after `policy apply`');
  });
});

test('the warm process puts it right without being called', async () => {
  const { host } = await start('worker');
  using _ = host;
  const whole = await host.words();
  for (const [what, command] of changes) {
    await host.host.sh(command);
    await until(what, async () => (await host.words().catch(() => '')) === whole);
  }
});

test('a warm process counts what it puts right', async () => {
  const { host } = await start();
  using _ = host;
  const whole = await host.words();
  const place = '127.0.0.1:9467';
  using agent = await startAgent(host.host, [...serving, '--metrics', place]);
  await host.host.sh('nft flush chain inet tollgate gate');
  await until('the gate to be whole', async () => (await host.words()) === whole);
  await until('it to be counted', async () =>
    /^tollgate_mended_total\{what="table"\} [1-9]/m.test(await host.host.sh(`curl -s http://${place}/metrics`)),
  );
  await until('it to be told', () => agent.said(/Another program changed our table: mended/));
});
