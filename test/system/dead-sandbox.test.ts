/** A sandbox whose namespace is gone and whose DEL never came: what it holds goes to the next ADD that wants it. */
import assert from 'node:assert/strict';
import test, { suite } from 'node:test';
import { add, addresses, type Call, cni, config, errorOf, type Json, silently, startHost } from '../support/cni.ts';
import type { Host } from '../support/host.ts';
import { tagged } from '../support/snapshot.ts';

const port = (more: Json = {}): Json => ({
  runtimeConfig: { portMappings: [{ hostPort: 8080, containerPort: 80, protocol: 'tcp' }], ...more },
});
const ips = { runtimeConfig: { ips: ['10.77.0.9'] } };
const capabilities = { portMappings: true, ips: true };

const wants: readonly (readonly [what: string, config: Json])[] = [
  ['a hostPort', config({ capabilities, ...port() })],
  ['a requested address', config({ capabilities, ...ips })],
  ['a requested address and a hostPort', config({ capabilities, ...port(ips.runtimeConfig) })],
  ['the only address of a pool', config({}, { v4: '10.78.0.0/30' })],
];

const call = async (host: Host, containerID: string, configuration: Json): Promise<Call & { netns: string }> => ({
  config: configuration,
  containerID,
  netns: await host.pod(),
});

suite('what a dead sandbox holds goes to the next ADD that wants it, and what a living one holds to nobody', () => {
  for (const [what, configuration] of wants)
    test(what, async () => {
      using host = await startHost();
      const bystander = await call(host, 'bystander', config({ name: 'other' }, { v4: '10.79.0.0/24' }));
      await add(host, bystander);
      const holder = await call(host, 'holder', configuration);
      const held = addresses(await add(host, holder));
      const next = await call(host, 'next', configuration);
      const { code } = errorOf(await cni(host, 'ADD', next));
      assert.ok(code === 7 || code >= 100, `code ${code}`);
      await host.removeNetns(holder.netns);
      const got = addresses(await add(host, next));
      if (what !== 'a hostPort') assert.deepEqual(got, held);
      assert.ok(await host.pings(got[0]!));
      assert.deepEqual((await tagged(host)).map(({ alias }) => alias).sort(), [
        'tollgate:default/bystander:bystander',
        'tollgate:default/next:next',
      ]);
      await silently(host, 'DEL', holder);
      assert.ok(await host.pings(got[0]!), "the dead one's DEL takes nothing from the next");
    });

  test('a hostPort that a dead sandbox of another network holds', async () => {
    using host = await startHost();
    const holder = await call(
      host,
      'holder',
      config({ name: 'other', capabilities, ...port() }, { v4: '10.79.0.0/24' }),
    );
    await add(host, holder);
    await host.removeNetns(holder.netns);
    await add(host, await call(host, 'next', config({ capabilities, ...port() })));
    assert.equal((await tagged(host)).length, 1);
  });
});
