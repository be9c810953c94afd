/** Another program undoes what the agent has made of its node: it is put right by the event, is counted, and is told. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { KubeHost } from '../support/kube-host.ts';
import { until } from '../support/until.ts';

const nodeWith = (name: string, podCIDR: string, address: string) => ({
  metadata: { name, creationTimestamp: '2026-01-01T00:00:00Z' },
  spec: { podCIDR, podCIDRs: [podCIDR] },
  status: { addresses: [{ type: 'InternalIP', address }] },
});

interface Undoing {
  readonly what: string;
  readonly script: string;
  /** Succeeds once it is put right. */
  readonly isWhole: string;
  /** Absent where it is the link that was away, and not the route. */
  readonly told?: RegExp;
}

const forwarding = (family: 4 | 6, key: string): Undoing => ({
  what: `IPv${family} forwarding is switched off`,
  script: `echo 0 >/proc/sys/net/${key}`,
  isWhole: `grep -q 1 /proc/sys/net/${key}`,
  told: new RegExp(`^Another program switched IPv${family} forwarding off: on again$`),
});
const route = "ip route show proto 116 | grep -q '^10.50.5.0/24 via 198.51.100.5'";

const undone: readonly Undoing[] = [
  forwarding(4, 'ipv4/ip_forward'),
  forwarding(6, 'ipv6/conf/all/forwarding'),
  {
    what: 'a route is removed',
    script: 'ip route del 10.50.5.0/24 proto 116',
    isWhole: route,
    told: /^Another program removed routes of ours: made again$/,
  },
  { what: 'the link to other nodes goes down, and comes back', script: 'ip link set near down', isWhole: route },
];

test('each is put right by its event, long before the agent looks again of its own accord', async t => {
  await using host = await KubeHost.startCluster();
  const own = nodeWith('n1', '10.50.1.0/24', '198.51.100.1');
  host.api.put('nodes', { ...own, spec: { podCIDRs: ['10.50.1.0/24', 'fd50:1::/64'] } });
  host.api.put('nodes', nodeWith('n5', '10.50.5.0/24', '198.51.100.5'));
  using agent = await host.startAgent('--metrics', '127.0.0.1:9467');
  const is = async (script: string) => (await host.host.run(['sh', '-c', script])).exit === 0;
  await until('the route', () => is(route));
  // A look of its own accord comes a minute after the last one, and each of these ends with one.
  for (const { what, script, isWhole, told } of undone)
    await t.test(what, async () => {
      const before = agent.lines.length;
      await host.host.sh(script);
      if (script === 'ip link set near down') {
        await until('the route to be gone', async () => !(await is(isWhole)));
        await host.host.sh('ip link set near up');
      }
      await until('it to be whole', () => is(isWhole), 30_000);
      if (told) await until('it to be told', () => agent.lines.slice(before).some(({ message }) => told.test(message)));
    });
  const counted = await host.host.sh(
    'exec 3<>/dev/tcp/127.0.0.1/9467; printf "GET /metrics HTTP/1.0\\r\\n\\r\\n" >&3; cat <&3',
  );
  assert.match(counted, /^tollgate_mended_total\{what="forwarding"\} 2$/m);
  assert.match(counted, /^tollgate_mended_total\{what="routes"\} [12]$/m);
});
