/** Many calls at once, and calls that are killed: what is handed out twice, what is left. */
import assert from 'node:assert/strict';
import test from 'node:test';
import {
  add,
  addresses,
  type Call,
  cni,
  config,
  errorOf,
  type Json,
  parallel,
  type Result,
  silently,
  startHost,
  warm,
} from '../../support/cni.ts';
import type { Host } from '../../support/host.ts';
import { random, seedOf } from '../../support/random.ts';
import { assertNothingLeft, snapshot, tagged } from '../../support/snapshot.ts';
import { until } from '../../support/until.ts';
import { isServed, type Way } from '../../support/way.ts';

const both = { v4: '10.77.0.0/24', v6: 'fd77::/64' };

/** A pool so small that an address which was given up too early would soon be met again. */
const crowded = { v4: '10.79.0.0/27', v6: 'fd79::/64' };
const portMappings = (i: number): Json => ({
  runtimeConfig: { portMappings: [{ hostPort: 20_000 + i, containerPort: 80, protocol: 'udp' }] },
});

interface Pod {
  readonly call: Call;
  readonly ips: readonly string[];
}

/** Kills `count` calls at random instants, with ever the same few pods living beside them. */
async function killCalls(host: Host, count: number, chance: () => number): Promise<void> {
  const network = config({ ipMasq: true }, crowded);
  await warm(host, { ...network, ...portMappings(0) });
  const before = await snapshot(host);
  const living = new Map<string, Pod>();
  const duration = { ADD: await howLong(host, network), DEL: 0 };
  duration.DEL = duration.ADD;
  let serial = 0;
  const killed = { ADD: 0, DEL: 0 };

  const remember = (call: Call, result: Result) => {
    const ips = addresses(result);
    for (const [id, pod] of living) {
      const twice = ips.filter(ip => pod.ips.includes(ip));
      assert.deepEqual(twice, [], `given to ${call.containerID} while ${id} holds it`);
    }
    living.set(call.containerID!, { call, ips });
  };

  /** One kill. The runtime's next move varies: DEL, another try under another name, or nothing at all. */
  const turn = async () => {
    const number = ++serial;
    const id = `k${number}`;
    const call: Call = { config: { ...network, ...portMappings(number) }, containerID: id, netns: await host.pod() };
    const verb = number % 2 === 0 ? 'ADD' : 'DEL';
    if (verb === 'DEL') remember(call, await add(host, call));
    // Most of a call is Node's start, in which nothing can go wrong: four in five strike the rest.
    const killAfter = duration[verb] * (chance() < 0.2 ? chance() : 0.4 + 0.7 * chance());
    // As soon as DEL runs, its address may be anybody's.
    living.delete(id);
    const outcome = await cni(host, verb, { ...call, run: { killAfter } });
    duration[verb] = outcome.signal ? duration[verb] : 0.8 * duration[verb] + 0.2 * outcome.ms;
    if (outcome.signal) killed[verb]++;
    else if (verb === 'ADD') remember(call, outcome.json as unknown as Result);
    const next = chance();
    if (living.has(id) || next < 0.4) {
      living.delete(id);
      await silently(host, 'DEL', call);
    } else if (next < 0.7) await host.sh(`ip netns delete ${call.netns}`);
    if (living.size < 4) {
      const stays: Call = { config: network, containerID: `beside-${id}`, netns: await host.pod() };
      remember(stays, await add(host, stays));
    }
  };

  /** As CRI-O does from time to time, with nothing else in flight. */
  const collect = async (what: string) => {
    const attachments = [...living.keys()].map(containerID => ({ containerID, ifname: 'eth0' }));
    const isClear = async () => {
      await silently(host, 'GC', { config: { ...network, 'cni.dev/valid-attachments': attachments } });
      return (await tagged(host)).length === living.size;
    };
    // A worker may be undoing what its caller did not live to see.
    if (isServed(host.way)) await until(`the dead to be gone after ${what}`, isClear);
    else assert.ok(await isClear(), `links after ${what}`);
    for (const { ips } of living.values()) for (const ip of ips) assert.ok(await host.pings(ip), `${ip} after ${what}`);
  };

  while (killed.ADD + killed.DEL < count) {
    await Promise.all([turn(), turn()]);
    if (serial % 24 === 0) await collect(`${killed.ADD + killed.DEL} kills`);
    assert.ok(serial < 4 * count, `only ${killed.ADD + killed.DEL} of ${serial} calls could be killed`);
  }
  assert.ok(killed.ADD > count / 5 && killed.DEL > count / 5, JSON.stringify(killed));
  await collect('the last kill');
  await parallel([...living.values()], 4, ({ call }) => silently(host, 'DEL', call));
  living.clear();
  await assertNothingLeft(host, before, `after ${JSON.stringify(killed)} kills, GC and DEL of the living`);
  await fillUp(host, network);
}

/** Median of what an ADD takes here and now, in ms. */
async function howLong(host: Host, network: Json): Promise<number> {
  const took: number[] = [];
  for (const netns of await host.netns(5)) {
    const call: Call = { config: network, containerID: `time-${netns}`, netns };
    took.push((await cni(host, 'ADD', call)).ms);
    await silently(host, 'DEL', call);
  }
  return took.sort((a, b) => a - b)[2]!;
}

/** No address was lost: the whole pool can still be had. */
async function fillUp(host: Host, network: Json): Promise<void> {
  const calls = (await host.netns(29)).map((netns, i): Call => ({ config: network, containerID: `f${i}`, netns }));
  const results = await parallel(calls, 4, call => add(host, call));
  assert.equal(new Set(results.flatMap(addresses)).size, 58);
}

export function manyCallsAtOnce(way: Way): void {
  test('100 ADDs at once: 100 different addresses of each family, all of them live; 100 DELs: nothing left', async () => {
    using host = await startHost({ way });
    const masked = config({ ipMasq: true }, both);
    await warm(host, masked);
    const before = await snapshot(host);
    const calls = (await host.netns(100)).map((netns, i): Call => ({ config: masked, containerID: `c${i}`, netns }));
    const results = await Promise.all(
      calls.map(async call => {
        const result = await add(host, call);
        // The kernel answers before it has made an IPv6 address its own; packets that a pod sends at once must not be lost.
        const own = addresses(result).find(ip => ip.includes(':'));
        assert.match(await host.sh(`ip -6 route get ${own}`, call.netns!), /^local /);
        return result;
      }),
    );
    assert.equal(new Set(results.flatMap(addresses)).size, 200);
    assert.equal((await tagged(host)).length, 100);
    for (const i of [0, 49, 99]) {
      for (const ip of addresses(results[(i + 7) % 100]!))
        assert.ok(await host.pings(ip, calls[i]!.netns), `pod ${i} to ${ip}`);
    }
    await Promise.all(calls.map(call => silently(host, 'DEL', call)));
    await assertNothingLeft(host, before, 'after 100 DELs');
  });

  test('30 ADDs race for 10 addresses: 10 succeed, 20 say which pool of what size is exhausted', async () => {
    using host = await startHost({ way });
    const range = { subnet: '10.78.0.0/24', rangeStart: '10.78.0.10', rangeEnd: '10.78.0.19' };
    const ten = config({ ipam: { type: 'tollgate-ipam', ranges: [[range]] } });
    await warm(host, config());
    const before = await snapshot(host);
    const calls = (await host.netns(30)).map((netns, i): Call => ({ config: ten, containerID: `c${i}`, netns }));
    const outcomes = await Promise.all(calls.map(call => cni(host, 'ADD', call)));
    const won = outcomes.filter(({ exit }) => exit === 0).map(({ json }) => addresses(json as unknown as Result)[0]);
    assert.deepEqual(
      won.toSorted(),
      Array.from({ length: 10 }, (_, i) => `10.78.0.${10 + i}`),
    );
    for (const outcome of outcomes.filter(({ exit }) => exit !== 0)) {
      const { code, msg, details } = errorOf(outcome);
      assert.ok(code >= 100, `code ${code}`);
      assert.match(`${msg} ${details}`, /10\.78\.0\.10-10\.78\.0\.19/);
      assert.match(`${msg} ${details}`, /\b10\b/);
    }
    assert.equal((await tagged(host)).length, 10);
    await parallel(calls, 8, call => silently(host, 'DEL', call));
    await assertNothingLeft(host, before, 'after 30 DELs');
  });

  test('20 ADDs race for 10 ports of the node: the first at each succeeds, the second alone fails and says who has it', async () => {
    using host = await startHost({ way });
    await warm(host, config());
    const before = await snapshot(host);
    const calls = (await host.netns(20)).map(
      (netns, i): Call => ({
        ...{ config: { ...config(), ...portMappings(i % 10) }, containerID: `c${i}`, netns },
      }),
    );
    const outcomes = await Promise.all(calls.map(call => cni(host, 'ADD', call)));
    for (let port = 0; port < 10; port++) {
      const [lost, ...others] = [port, port + 10].map(i => outcomes[i]!).filter(({ exit }) => exit !== 0);
      assert.ok(lost && others.length === 0, `port ${20_000 + port}: ${lost?.stdout} ${others[0]?.stdout}`);
      const { code, msg } = errorOf(lost);
      assert.deepEqual([code, /taken by pod /.test(msg)], [7, true], msg);
    }
    assert.equal((await tagged(host)).length, 10);
    await parallel(calls, 8, call => silently(host, 'DEL', call));
    await assertNothingLeft(host, before, 'after 20 DELs');
  });

  test('ADDs and DELs of one attachment at once never overlap: one ADD wins, and after the last DEL nothing is left', async () => {
    using host = await startHost({ way });
    await warm(host, config());
    const before = await snapshot(host);
    for (let round = 0; round < 5; round++) {
      const call: Call = { config: config(), containerID: `same${round}`, netns: await host.pod() };
      const adds = await Promise.all([1, 2, 3, 4].map(() => cni(host, 'ADD', call)));
      const won = adds.filter(({ exit }) => exit === 0).length;
      // Whose worker died is asked again after a DEL, which takes away what another one has won meanwhile.
      const again = adds.reduce((sum, each) => sum + each.again, 0);
      const said = adds.map(each => `exit ${each.exit}, asked again ${each.again} times: ${each.stdout}`).join('\n');
      assert.ok(won >= 1 && won <= 1 + again, said);
      for (const failed of adds.filter(({ exit }) => exit !== 0)) errorOf(failed);
      assert.equal((await tagged(host)).length, 1, said);
      await Promise.all([1, 2, 3].map(() => silently(host, 'DEL', call)));
      await assertNothingLeft(host, before, `after round ${round}`);
      const [mixed] = await Promise.all([
        cni(host, 'ADD', call),
        silently(host, 'DEL', call),
        silently(host, 'DEL', call),
      ]);
      if (mixed.exit !== 0) errorOf(mixed);
      await silently(host, 'DEL', call);
      await assertNothingLeft(host, before, `after ADD and DEL at once, round ${round}`);
    }
  });

  test('200 SIGKILLs at random instants of ADD and DEL: no address is held twice, and after GC nothing is left', async t => {
    using host = await startHost({ way });
    await host.outside();
    await killCalls(host, 200, random(seedOf(t)));
  });
}
