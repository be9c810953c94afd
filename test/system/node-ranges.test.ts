/**
 * Networks that name no address ranges: the agent's word is what counts, also for a worker, which reads a configuration once and
 * the node's ranges at each call.
 */
import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { readNodeRanges } from '../../lib/ipam/node-ranges.ts';
import { add, addresses, cni, config, errorOf, type Json, runDir, silently, startHost } from '../support/cni.ts';
import type { Host } from '../support/host.ts';
import { inWays } from '../support/way.ts';

const fromNode = (ipam: Json = { ranges: 'node' }): Json =>
  config({ ipMasq: true, ipam: { type: 'tollgate-ipam', ...ipam } });
const say = (host: Host, ...podCidrs: string[]): Promise<string> =>
  host.sh(`mkdir -p ${runDir}; echo '${JSON.stringify({ node: 'a', podCidrs })}' >${runDir}/node.json`);
const masquerade = (host: Host): Promise<string> =>
  host.sh('nft list set inet tollgate masq4; nft list set inet tollgate nomasq4');

suite('What node.json may be', () => {
  const cases: readonly (readonly [what: string, value: unknown, isOne: boolean])[] = [
    ['both families', { node: 'a', podCidrs: ['10.0.0.0/24', 'fd00::/64'] }, true],
    ['keys of a later release', { node: 'a', podCidrs: ['10.0.0.0/24'], more: 1 }, true],
    ['no range', { node: 'a', podCidrs: [] }, false],
    ['half of them readable', { node: 'a', podCidrs: ['10.0.0.0/24', '10.0.1.0'] }, false],
    ['no node', { podCidrs: ['10.0.0.0/24'] }, false],
    ['null', null, false],
    ['a list', [], false],
    ['a text', 'x', false],
  ];
  for (const [what, value, isOne] of cases)
    test(`${what}: ${isOne ? 'read' : 'as if it were not there'}`, () =>
      assert.equal(readNodeRanges(value) !== undefined, isOne));
});

inWays(['alone', 'worker'], way => {
  suite('A network without ranges', () => {
    for (const [what, ipam] of [
      ['that says "node"', { ranges: 'node' }],
      ['that says nothing', {}],
    ] as const)
      test(`${what} gives a pod one address of each family of the node's`, async () => {
        using host = await startHost({ way });
        await say(host, '10.244.1.0/24', 'fd44:1::/64');
        const call = { config: fromNode(ipam), containerID: 'c1', netns: await host.pod() };
        assert.deepEqual(addresses(await add(host, call)), ['10.244.1.2', 'fd44:1::2']);
        await silently(host, 'STATUS', { config: call.config });
        await silently(host, 'DEL', call);
      });

    test('is told to wait, with the file’s name, where the agent has not written; what needs no range goes on', async () => {
      using host = await startHost({ way });
      const call = { config: fromNode(), containerID: 'c1', netns: await host.pod() };
      const refused = errorOf(await cni(host, 'ADD', call));
      assert.equal(refused.code, 11);
      assert.match(refused.msg, /^Cannot tell this node's address ranges: \/run\/test\/run\/node\.json names none/);
      assert.equal(errorOf(await cni(host, 'STATUS', { config: call.config })).code, 50);
      await host.sh(`mkdir -p ${runDir}; echo '{"node":"a","podCi' >${runDir}/node.json`);
      assert.equal(errorOf(await cni(host, 'ADD', call)).code, 11);
      await silently(host, 'DEL', call);
      await silently(host, 'GC', { config: { ...fromNode(), 'cni.dev/valid-attachments': [] } });
    });

    test('takes ranges that a runtime names before the node’s', async () => {
      using host = await startHost({ way });
      await say(host, '10.244.1.0/24');
      const network = { ...fromNode(), runtimeConfig: { ipRanges: [[{ subnet: '10.9.0.0/24' }]] } };
      const result = await add(host, { config: network, containerID: 'c1', netns: await host.pod() });
      assert.deepEqual(addresses(result), ['10.9.0.2']);
    });

    test('leaves a pod its address when the node’s ranges change, and gives new pods new ones', async () => {
      using host = await startHost({ way });
      await say(host, '10.244.1.0/24');
      const old = { config: fromNode(), containerID: 'old', netns: await host.pod() };
      assert.deepEqual(addresses(await add(host, old)), ['10.244.1.2']);
      await say(host, '10.244.50.0/24');
      const young = { config: fromNode(), containerID: 'young', netns: await host.pod() };
      assert.deepEqual(addresses(await add(host, young)), ['10.244.50.2']);
      assert.match(await masquerade(host), /masq4[\s\S]*10\.244\.1\.0\/24[\s\S]*10\.244\.50\.0\/24/);
      assert.equal(await host.pings('10.244.1.2'), true);
      assert.equal(await host.pings('10.244.1.2', young.netns), true);
      await silently(host, 'DEL', old);
      await silently(host, 'DEL', young);
      assert.doesNotMatch(await host.sh('nft list ruleset'), /10\.244/);
    });
  });

  test('tollgate-ipam gives addresses of the node’s to another main plugin, too', async () => {
    using host = await startHost({ way });
    await host.sh(`mkdir -p /run/tollgate; echo '{"node":"a","podCidrs":["10.244.1.0/24"]}' >/run/tollgate/node.json`);
    const network = { cniVersion: '1.1.0', name: 'flat', type: 'bridge', ipam: { type: 'tollgate-ipam' } };
    const result = await add(host, {
      plugin: 'tollgate-ipam',
      config: network,
      containerID: 'c1',
      netns: await host.pod(),
    });
    assert.deepEqual(addresses(result), ['10.244.1.2']);
  });
});
