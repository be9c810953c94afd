/** DEL, GC, STATUS and CHECK in every situation in which a runtime calls them. */
import assert from 'node:assert/strict';
import test, { after, suite } from 'node:test';
import { add, type Call, cni, config, errorOf, type Result, silently, startHost, warm } from '../support/cni.ts';
import { assertNothingLeft, links, snapshot } from '../support/snapshot.ts';

const host = await startHost();
after(() => host[Symbol.dispose]());

const someone = { containerID: 'someone', netnsPath: '/run/netns/nowhere', ifname: 'eth0' };

suite('DEL succeeds in silence', () => {
  const plugged = async (containerID: string): Promise<Call & { netns: string; result: Result }> => {
    const call = { config: config(), containerID, netns: await host.pod() };
    return { ...call, result: await add(host, call) };
  };
  const emptyNetns = { CNI_NETNS: '' };
  const cases: readonly (readonly [what: string, (id: string) => Promise<void>])[] = [
    [
      'where ADD never happened',
      async id => void (await silently(host, 'DEL', { ...someone, config: config(), containerID: id })),
    ],
    [
      'twice',
      async id => {
        const call = await plugged(id);
        await silently(host, 'DEL', call);
        await silently(host, 'DEL', call);
      },
    ],
    [
      'with CNI_NETNS empty',
      async id => void (await silently(host, 'DEL', { ...(await plugged(id)), env: emptyNetns })),
    ],
    [
      'with CNI_NETNS not set',
      async id => void (await silently(host, 'DEL', { ...(await plugged(id)), env: { CNI_NETNS: undefined } })),
    ],
    [
      'with the namespace gone',
      async id => {
        const call = await plugged(id);
        await host.removeNetns(call.netns);
        await silently(host, 'DEL', call);
      },
    ],
    [
      'while the kernel deletes the namespace',
      async id => {
        const call = await plugged(id);
        await host.sh(`ip netns delete ${call.netns}`);
        await silently(host, 'DEL', call);
      },
    ],
    [
      'with a path that is not a namespace',
      async id => {
        const call = await plugged(id);
        await host.sh('touch /run/netns/plain');
        await silently(host, 'DEL', { ...call, netnsPath: '/run/netns/plain' });
      },
    ],
    [
      'with the path of a folder',
      async id => void (await silently(host, 'DEL', { ...(await plugged(id)), netnsPath: '/run/netns' })),
    ],
    [
      'with the link gone',
      async id => {
        const call = await plugged(id);
        await host.sh('ip link delete eth0', call.netns);
        await silently(host, 'DEL', call);
      },
    ],
    [
      'with prevResult, without, and with garbage in its place',
      async id => {
        for (const prevResult of ['garbage', { ips: 7 }, null, { cniVersion: '7.0.0' }, [], undefined]) {
          const call = await plugged(id);
          await silently(host, 'DEL', { ...call, config: config({ prevResult }) });
        }
        const call = await plugged(id);
        await silently(host, 'DEL', { ...call, config: config({ prevResult: call.result }) });
      },
    ],
    [
      'with another subnet than ADD had, no IPAM, or an older version',
      async id => {
        const { ipam: _, ...bare } = config();
        for (const other of [config({}, { v4: '172.20.0.0/16' }), bare, config({ cniVersion: '0.3.1' })]) {
          await silently(host, 'DEL', { ...(await plugged(id)), config: other });
        }
      },
    ],
    [
      'with CNI_ARGS that nobody can read',
      async id => void (await silently(host, 'DEL', { ...(await plugged(id)), args: 'broken;;=' })),
    ],
    [
      'with forwarding and masquerading since switched off',
      async id => {
        const call = { config: config({ ipMasq: true }), containerID: id, netns: await host.pod() };
        await add(host, call);
        await silently(host, 'DEL', { ...call, config: config({ ipMasq: false }) });
      },
    ],
  ];
  for (const [i, [what, run]] of cases.entries()) {
    test(`${what}, and leaves nothing`, async () => {
      await warm(host, config());
      await warm(host, config({ ipMasq: true }));
      const before = await snapshot(host);
      await run(`gone${i}`);
      await assertNothingLeft(host, before);
    });
  }
});

suite('GC', () => {
  const three = ['one', 'two', 'three'];
  const plug = async () => {
    await warm(host, config());
    const before = await snapshot(host);
    const calls: Call[] = [];
    for (const containerID of three) calls.push({ config: config(), containerID, netns: await host.pod() });
    for (const call of calls) await add(host, call);
    return { before, calls };
  };
  const keys = ['cni.dev/valid-attachments', 'cni.dev/attachments'];

  for (const key of keys) {
    test(`keeps what ${key} lists, and releases the rest`, async () => {
      const { before, calls } = await plug();
      const config_ = config({
        [key]: [
          { containerID: 'two', ifname: 'eth0' },
          { containerID: 'one', ifname: 'eth1' },
        ],
      });
      await silently(host, 'GC', { config: config_ });
      const tags = (await links(host)).map(link => link.alias).filter(alias => alias !== undefined);
      assert.deepEqual(
        tags.map(alias => alias.split(':').at(-1)),
        ['two'],
      );
      await silently(host, 'DEL', calls[1]!);
      await assertNothingLeft(host, before, 'after GC and one DEL');
      for (const call of calls) await silently(host, 'DEL', call);
    });
  }

  for (const [what, value] of [
    ['null, a runtime that knows no pod,', null],
    ['an empty list', []],
  ] as const) {
    test(`with ${what} releases all of the network`, async () => {
      const { before } = await plug();
      await silently(host, 'GC', { config: config({ [keys[0]!]: value }) });
      await assertNothingLeft(host, before, 'after GC');
    });
  }

  test('without the key touches nobody who lives, and releases those whose namespace is gone', async () => {
    const { before, calls } = await plug();
    await host.removeNetns(calls[0]!.netns!);
    await silently(host, 'GC', { config: config() });
    const living = (await links(host)).map(link => link.alias?.split(':').at(-1)).filter(id => id !== undefined);
    assert.deepEqual(living.sort(), ['three', 'two']);
    for (const call of calls.slice(1)) await silently(host, 'DEL', call);
    await assertNothingLeft(host, before, 'after GC and two DELs');
  });

  test('of another network touches nothing of this one', async () => {
    const { before, calls } = await plug();
    const during = await snapshot(host);
    await silently(host, 'GC', { config: config({ name: 'other', [keys[0]!]: [] }) });
    await assertNothingLeft(host, during, 'after GC of another network');
    for (const call of calls) await silently(host, 'DEL', call);
    await assertNothingLeft(host, before);
  });
});

suite('STATUS', () => {
  test('is silent where ADD could be served, and leaves nothing behind', async () => {
    await warm(host, config());
    const before = await snapshot(host);
    await silently(host, 'STATUS', { config: config() });
    await assertNothingLeft(host, before, 'after STATUS');
  });

  test('is code 50 or 51 once the pool is exhausted, and names it', async () => {
    const tiny = config({ name: 'tiny' }, { v4: '10.78.0.0/30' });
    const call = { config: tiny, containerID: 'only', netns: await host.pod() };
    await add(host, call);
    const { code, msg, details } = errorOf(await cni(host, 'STATUS', { config: tiny }));
    assert.ok(code === 50 || code === 51, `code ${code}`);
    assert.match(`${msg} ${details}`, /10\.78\.0\./);
    await silently(host, 'DEL', call);
    await silently(host, 'STATUS', { config: tiny });
  });

  test('is code 50 or 51 where a delegated IPAM is not to be found', async () => {
    const { code, msg } = errorOf(await cni(host, 'STATUS', { config: config({ ipam: { type: 'no-such-ipam' } }) }));
    assert.ok(code === 50 || code === 51, `code ${code}`);
    assert.match(msg, /no-such-ipam/);
  });
});

suite('CHECK', () => {
  const check = async (spoil: (call: { netns: string; result: Result }) => Promise<unknown>) => {
    const netns = await host.pod();
    const call = { config: config(), containerID: 'checked', netns };
    const result = await add(host, call);
    const checked = { ...call, config: config({ prevResult: result }) };
    await silently(host, 'CHECK', checked);
    await spoil({ netns, result });
    const outcome = await cni(host, 'CHECK', checked);
    await silently(host, 'DEL', call);
    return outcome;
  };
  const damages: readonly (readonly [what: string, script: (ip: string) => string, where: 'pod' | 'host'])[] = [
    ['the address of the pod is gone', ip => `ip addr del ${ip} dev eth0`, 'pod'],
    ['the interface is down', () => 'ip link set eth0 down', 'pod'],
    ['the interface is gone', () => 'ip link delete eth0', 'pod'],
    ['the default route of the pod is gone', () => 'ip route del default', 'pod'],
    ['the MAC has changed', () => 'ip link set eth0 address 02:00:00:00:00:07', 'pod'],
    ['the route of the host is gone', ip => `ip route del ${ip.split('/')[0]}`, 'host'],
    ['the tag is gone', () => 'ip link set $link group 0', 'host'],
  ];
  for (const [what, script, where] of damages) {
    test(`says so where ${what}`, async () => {
      const outcome = await check(({ netns, result }) => {
        const text = script(result.ips![0]!.address).replace('$link', result.interfaces![0]!.name);
        return host.sh(text, where === 'pod' ? netns : undefined);
      });
      errorOf(outcome);
    });
  }

  test('tolerates what a later plugin of the chain adds', async () => {
    const outcome = await check(({ netns }) =>
      host.sh(
        'ip addr add 198.51.100.7/32 dev eth0; ip route add 198.51.100.0/24 dev eth0; ip link add d0 type bridge',
        netns,
      ),
    );
    assert.equal(outcome.exit, 0, outcome.stdout);
    assert.equal(outcome.stdout, '');
  });

  test('needs prevResult', async () => {
    const { code, msg } = errorOf(await cni(host, 'CHECK', { ...someone, config: config() }));
    assert.equal(code, 7);
    assert.match(msg, /prevResult/);
  });
});
