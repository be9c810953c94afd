/** What a worker's DEL leaves to be deleted: closed, unrouted, out of everybody's sight, and gone within a moment. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { SharedLinkReaper } from '../../lib/controller/link-reaper.ts';
import { NetlinkSocket } from '../../lib/kernel/netlink.ts';
import { inNetns, Netns } from '../../lib/kernel/netns.ts';
import { markForDeletion } from '../../lib/pod/link-reaper.ts';
import { allLinks } from '../../lib/pod/links.ts';
import { formatTag } from '../../lib/tag/tag.ts';
import { startAgent } from '../support/agent-process.ts';
import { type, typeJson } from '../support/cli-host.ts';
import { add, addList, addresses, type Call, config, silently, startHost, stateDir, warm } from '../support/cni.ts';
import type { Host } from '../support/host.ts';
import { assertNothingLeft, condemned, deleting, links, snapshot } from '../support/snapshot.ts';
import { until } from '../support/until.ts';
import { inWays } from '../support/way.ts';
import { callOf, startWorkerHost } from '../support/worker-host.ts';

const deletingLinks = async (host: Host): Promise<string[]> =>
  (await links(host)).filter(({ group }) => group === deleting).map(({ name }) => name);

/** A link as a worker leaves it that dies right after a DEL of that pod. */
async function leaveDeleting(host: Host, name: string, netns: string): Promise<void> {
  await host.sh(
    `ip link add ${name} group ${deleting} type veth peer name eth0 netns ${netns}; ip link set ${name} up`,
  );
}

inWays(['alone', 'launcher'], way => {
  test('50 DELs at once: closed, unrouted, ungated and unclaimed when each returns; all links are gone a moment later', async () => {
    using both = await startWorkerHost({ way });
    const { host, agent } = both;
    await warm(host, config());
    await add(host, await callOf(host, 'stays'));
    const before = await snapshot(host);
    const calls = (await host.netns(50)).map((netns, i): Call => ({ config: config(), containerID: `c${i}`, netns }));
    const results = await Promise.all(calls.map(call => add(host, call)));
    const hostEnds = new Map(results.map((result, i) => [result.interfaces![0]!.name, calls[i]!]));
    await Promise.all(
      calls.map(async (call, i) => {
        await silently(host, 'DEL', call);
        const [ip] = addresses(results[i]!);
        assert.equal(await host.sh(`ip route show ${ip}`), '', 'it is routed still');
        assert.doesNotMatch(
          await host.sh('nft list table inet tollgate'),
          new RegExp(`\\b${ip!.replaceAll('.', '\\.')} \\. `),
        );
        assert.ok(
          !host.files(stateDir).some(file => file.includes(`/${call.containerID}:`)),
          'its claim is there still',
        );
      }),
    );
    for (const { name, group } of await links(host))
      if (hostEnds.has(name)) assert.equal(group, deleting, `${name} is ${formatTag(group)}`);
    await until('all of them to be gone', async () => (await links(host)).every(({ name }) => !hostEnds.has(name)));
    await assertNothingLeft(host, before, 'after 50 DELs');
    assert.equal(agent.calls('DEL'), 51);
  });

  test('a link in the deleting group is as good as gone to pods, verify and DEL; gc takes it away, and so does a worker that starts', async () => {
    using host = await startHost({ way });
    await warm(host, config());
    await add(host, await callOf(host, 'stays'));
    const call = await callOf(host, 'goes');
    const { name } = (await add(host, call)).interfaces![0]!;
    await silently(host, 'DEL', call);
    await leaveDeleting(host, name, call.netns!);
    assert.equal((await typeJson<unknown[]>(host, ['pods'], 0)).length, 1);
    assert.equal((await type(host, ['verify'])).exit, 0);
    assert.deepEqual(await deletingLinks(host), [name]);
    assert.equal((await type(host, ['gc'])).exit, 0);
    assert.deepEqual(await deletingLinks(host), []);
    await leaveDeleting(host, name, call.netns!);
    using _ = await startAgent(host);
    await until('it to be gone', async () => (await deletingLinks(host)).length === 0);
  });

  test('the interface of a DEL right before is waited for: by an ADD of the same container, and of another in its namespace', async () => {
    using both = await startWorkerHost({ way });
    const { host } = both;
    const call = await callOf(host, 'same');
    for (let turn = 0; turn < 10; turn++)
      for (const containerID of ['same', 'same', 'other']) {
        const each = { ...call, containerID };
        const [ip] = addresses(await add(host, each));
        assert.ok(await host.pings(ip!));
        await silently(host, 'DEL', each);
      }
  });

  test('in process, what a worker left is deleted for the same two', async () => {
    using host = await startHost({ way });
    for (const containerID of ['same', 'other']) {
      const call = await callOf(host, 'same');
      const { name } = (await add(host, call)).interfaces![0]!;
      await silently(host, 'DEL', call);
      await leaveDeleting(host, name, call.netns!);
      const [ip] = addresses(await add(host, { ...call, containerID }));
      assert.ok(await host.pings(ip!));
      await silently(host, 'DEL', { ...call, containerID });
      assert.deepEqual(await deletingLinks(host), []);
    }
  });

  test('another plugin’s interface is condemned, not put into the deleting group, and survives what is deleted', async () => {
    using both = await startWorkerHost({ way });
    const { host } = both;
    await warm(host, config());
    const list = {
      cniVersion: '1.0.0',
      name: 'chain',
      plugins: [
        { type: 'ptp', ipam: { type: 'host-local', subnet: '10.81.0.0/24', dataDir: '/run/test/host-local' } },
        { ...config(), type: 'tollgate', ipam: undefined },
      ],
    };
    const chained = await callOf(host, 'chained');
    const result = await addList(host, list, chained);
    const own = await callOf(host, 'own');
    await add(host, own);
    const [name] = result.interfaces!.map(each => each.name);
    await silently(host, 'DEL', {
      ...chained,
      config: { ...list.plugins[1], cniVersion: '1.0.0', name: 'chain', prevResult: result },
    });
    await silently(host, 'DEL', own);
    await until('links in the deleting group to be gone', async () => (await deletingLinks(host)).length === 0);
    assert.equal((await links(host)).find(link => link.name === name)?.group, condemned);
  });
});

test('the event loop turns while the kernel deletes', async () => {
  using host = await startHost();
  const netns = await host.pod();
  const names = Array.from({ length: 50 }, (_, i) => `tg${i}`);
  using place = Netns.open(`/proc/${host.pid}/ns/net`);
  using socket = inNetns(place, () => NetlinkSocket.open('route'));
  using reaper = inNetns(place, () => new SharedLinkReaper(() => {}));
  await reaper.drained();
  const deletes = async (): Promise<readonly string[]> => {
    await host.sh(names.map(name => `ip link add ${name} type veth peer name p${name} netns ${netns}`).join('\n'));
    const found = allLinks(socket.exchange).filter(({ name }) => names.includes(name));
    for (const { ifindex } of found) markForDeletion(socket.exchange, ifindex);
    assert.equal((await deletingLinks(host)).length, 50);
    const order: string[] = [];
    const emptied = reaper.drained().then(() => order.push('emptied'));
    await setImmediate();
    order.push('turned');
    await emptied;
    assert.deepEqual(await deletingLinks(host), []);
    return order;
  };
  // A thread that gets no processor right then may have its turn only when all are gone; one that deletes itself has none before.
  const orders: (readonly string[])[] = [];
  while (orders.length < 10 && orders.at(-1)?.[0] !== 'turned') orders.push(await deletes());
  assert.deepEqual(orders.at(-1), ['turned', 'emptied'], `${orders.length} times`);
});
