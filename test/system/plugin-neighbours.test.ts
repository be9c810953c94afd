/** What a pod says of neighbours its node does not believe: it knows both ends of the link, and its table is everybody's. */
import assert from 'node:assert/strict';
import test, { after, suite } from 'node:test';
import { setImmediate as breath } from 'node:timers/promises';
import { typeJson } from '../support/cli-host.ts';
import { type Json, policies, runDir, startHost, stateDir } from '../support/cni.ts';
import { forgerIn, forgeries, neighbours, type Plugged, plug, received } from '../support/forged-neighbours.ts';
import { until } from '../support/until.ts';

/** More than the kernel's table takes (gc_thresh3 is 1024). */
const FORGED = 3_000;
/** Sent between two looks at what else goes on. */
const SLICE = 100;

const ranges = (n: number) => [[{ subnet: `10.${n}.0.0/16` }], [{ subnet: `fd00:${n}::/64` }]];
const defaults = [{ dst: '0.0.0.0/0' }, { dst: '::/0' }];
const own = (enforcer: string, more: Json = {}): Json => ({
  type: 'tollgate',
  stateDir,
  runDir,
  policies,
  enforcer,
  ...more,
});
const hostLocal = (n: number): Json => ({
  type: 'host-local',
  dataDir: '/run/test/host-local',
  ranges: ranges(n),
  routes: defaults,
});

/** Who made the interface, under which enforcer. */
const makers: Readonly<Record<string, readonly Json[]>> = {
  'tollgate, enforcer inline': [own('inline', { ipam: { type: 'tollgate-ipam', ranges: ranges(61) } })],
  'ptp, then tollgate, enforcer inline': [{ type: 'ptp', ipam: hostLocal(62) }, own('inline')],
  'tollgate, enforcer none': [own('none', { ipam: { type: 'tollgate-ipam', ranges: ranges(63) } })],
  'ptp, then tollgate, enforcer none': [{ type: 'ptp', ipam: hostLocal(64) }, own('none')],
};

interface Report {
  readonly lacking: readonly { readonly what: string }[];
}

let strangers = 10;
/** Of a machine on the node's own network that the node has not spoken to yet. */
async function strangerTo({ host, outside }: Plugged): Promise<readonly string[]> {
  const n = ++strangers;
  await host.sh(`ip addr add 192.0.2.${n}/24 dev wire; ip addr add 2001:db8::${n}/64 dev wire nodad`, outside);
  return [`192.0.2.${n}`, `2001:db8::${n}`];
}

for (const [maker, plugins] of Object.entries(makers))
  suite(`made by ${maker}`, async () => {
    const plugged = await plug(plugins);
    after(() => plugged.host[Symbol.dispose]());
    const { host, netns, link, addresses, gateways } = plugged;
    for (const [what, forge] of Object.entries(forgeries))
      test(`${FORGED} ${what}: the node learns nothing, and resolves a new neighbour of its own meanwhile`, async () => {
        const known = new Set(await neighbours(host, link));
        const before = await received(host, link);
        using forger = await forgerIn(plugged);
        const found = (await strangerTo(plugged)).map(address => host.pings(address));
        let isAnswered = false;
        const answered = Promise.all(found).finally(() => {
          isAnswered = true;
        });
        for (let sent = 0; sent < FORGED || !isAnswered; await breath())
          for (const end = sent + SLICE; sent < end; sent++) forge(forger, sent);
        const isResolved = await answered;
        assert.ok((await received(host, link)) - before >= FORGED, 'the node has been sent them');
        const learnt = (await neighbours(host, link)).filter(ip => !known.has(ip) && !addresses.includes(ip));
        assert.deepEqual([learnt.length, learnt.slice(0, 3)], [0, []]);
        assert.deepEqual(isResolved, [true, true]);
      });
    test('the pod still finds its gateways when it has to ask for them, and reaches its node and beyond', async () => {
      for (const gateway of gateways) await host.sh(`ip neigh del ${gateway} dev eth0 2>/dev/null || true`, netns);
      for (const address of [...gateways, '192.0.2.2', '2001:db8::2'])
        assert.ok(await host.pings(address, netns), address);
      for (const address of addresses) assert.ok(await host.pings(address), address);
    });
    test('a pod whose kernel doubts its gateways asks again, and loses no packet meanwhile', async () => {
      const [{ address: mac }] = JSON.parse(await host.sh(`ip -j link show dev ${link}`));
      for (const gateway of gateways) {
        await host.sh(`ip neigh replace ${gateway} lladdr ${mac} nud probe dev eth0`, netns);
        await until('the kernel has given up or is sure', async () => {
          assert.ok(await host.pings(gateway, netns), gateway);
          return !(await host.sh(`ip neigh show ${gateway} dev eth0`, netns)).includes('PROBE');
        });
        assert.ok(await host.pings(gateway, netns), gateway);
      }
    });
  });

test('settings of the node that would teach it neighbours all the same are named by verify', async () => {
  using host = await startHost();
  for (const name of ['arp_accept', 'proxy_arp']) {
    const noted = async () =>
      (await typeJson<Report>(host, ['verify'], 0)).lacking.filter(({ what }) => what.includes(`all.${name} is 1`));
    assert.deepEqual(await noted(), []);
    await host.sh(`echo 1 >/proc/sys/net/ipv4/conf/all/${name}`);
    assert.equal((await noted()).length, 1);
  }
});
