/** A node or a container without IPv6, and a network with an IPv6 range: all who are asked say what is off, and what to write. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { typeJson } from '../support/cli-host.ts';
import { add, addresses, cni, config, errorOf, silently, startHost } from '../support/cni.ts';

interface Report {
  readonly lacking: readonly { readonly severity: string; readonly what: string; readonly fix?: string }[];
}

const dual = config({}, { v4: '10.77.0.0/24', v6: 'fd77::/64' });
const only4 = config({ name: 'only4' }, { v4: '10.78.0.0/24' });
const readOnly = 'mount --bind /proc/sys /proc/sys; mount -o remount,ro,bind /proc/sys';

const off = {
  what: /IPv6 is switched off on this node \(net\.ipv6\.conf\.default\.disable_ipv6 is 1\)/,
  fix: /sysctl -w net\.ipv6\.conf\.all\.disable_ipv6=0 net\.ipv6\.conf\.default\.disable_ipv6=0/,
};
const absent = { what: /this kernel has no IPv6/, fix: /take ipv6\.disable=1 off the kernel's command line/ };

/** What was typed on the node; what is said of it; what brings IPv6 back. */
const nodes: readonly (readonly [string, string, { what: RegExp; fix: RegExp }, string])[] = [
  ['for all links', 'echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6', off, ''],
  ['for new links', 'echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6', off, ''],
  // As the kernel leaves it that was started with ipv6.disable=1.
  ['in the kernel', 'mount -t tmpfs tmpfs /proc/sys/net/ipv6', absent, 'umount /proc/sys/net/ipv6'],
];

for (const [where, script, said, back] of nodes)
  test(`IPv6 is off ${where}: ADD is code 102, STATUS 50, verify notes it, and IPv4 goes on`, async () => {
    using host = await startHost({ setup: script });
    const call = { config: dual, containerID: 'dual', netns: await host.pod() };
    const refused = errorOf(await cni(host, 'ADD', call));
    assert.equal(refused.code, 102);
    assert.match(refused.msg, /Cannot give the pod fd77::\w+: /);
    const status = errorOf(await cni(host, 'STATUS', { config: dual }));
    assert.equal(status.code, 50);
    for (const { msg, details } of [refused, status]) {
      assert.match(msg, said.what);
      assert.match(details!, said.fix);
    }
    const { lacking } = await typeJson<Report>(host, ['verify'], 0);
    const noted = lacking.find(({ what }) => said.what.test(what));
    assert.equal(noted?.severity, 'note');
    assert.match(noted!.fix!, said.fix);
    await silently(host, 'STATUS', { config: only4 });
    const pod = await add(host, { config: only4, containerID: 'only4', netns: await host.pod() });
    assert.ok(await host.pings(addresses(pod)[0]!));
    // What it says to write is what it takes.
    await host.sh(back || noted!.fix!.split(', ')[0]!);
    await silently(host, 'STATUS', { config: dual });
    for (const ip of addresses(await add(host, call))) assert.ok(await host.pings(ip), ip);
  });

test('IPv6 that goes off while pods have it is an error of verify, not a note', async () => {
  using host = await startHost();
  await add(host, { config: dual, containerID: 'dual', netns: await host.pod() });
  await host.sh('echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6');
  const { lacking } = await typeJson<Report>(host, ['verify'], 1);
  assert.equal(lacking.find(({ what }) => off.what.test(what))?.severity, 'broken');
});

test('forwarding that is off where /proc/sys is read-only: ADD and STATUS name the setting', async () => {
  for (const [key, name] of [
    ['ipv4/ip_forward', 'net.ipv4.ip_forward=1'],
    ['ipv6/conf/all/forwarding', 'net.ipv6.conf.all.forwarding=1'],
  ] as const) {
    using host = await startHost();
    await host.sh(`for f in ipv4/ip_forward ipv6/conf/all/forwarding; do echo 1 >/proc/sys/net/$f; done
      for f in accept_ra accept_dad; do echo 0 >/proc/sys/net/ipv6/conf/default/$f; done
      echo 0 >/proc/sys/net/${key}; ${readOnly}`);
    const { code, msg } = errorOf(await cni(host, 'ADD', { config: dual, containerID: 'a', netns: await host.pod() }));
    assert.equal(code, 102);
    assert.ok(msg.includes(`Cannot set net/${key} to 1 (it is 0): /proc/sys is mounted read-only`), msg);
    const status = errorOf(await cni(host, 'STATUS', { config: dual }));
    assert.equal(status.code, 50);
    assert.ok(status.details?.includes(`sysctl -w ${name}`), JSON.stringify(status));
  }
});

test("IPv6 that a runtime's sysctls switch off in the container, with a read-only /proc/sys, is told of by its name", async () => {
  using host = await startHost();
  const netns = await host.pod();
  await host.sh('echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6', netns);
  await host.sh(`echo 1 >/proc/sys/net/ipv4/ip_forward; echo 1 >/proc/sys/net/ipv6/conf/all/forwarding
    echo 0 >/proc/sys/net/ipv6/conf/default/accept_ra; ${readOnly}`);
  const { code, msg, details } = errorOf(await cni(host, 'ADD', { config: dual, containerID: 'a', netns }));
  assert.equal(code, 102);
  assert.match(msg, /IPv6 is switched off in the container.*net\/ipv6\/conf\/all\/disable_ipv6/);
  assert.match(details!, /sysctls/);
});
