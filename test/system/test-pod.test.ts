/** The program in the pods of `tollgate connectivity test`, as it asks for what a cluster hears of in its own time. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { text } from 'node:stream/consumers';
import test from 'node:test';
import { Host } from '../support/host.ts';
import { tollgate } from '../support/places.ts';
import { until } from '../support/until.ts';

/** With a server on port 8080, names of its own, and no DNS: each query meets a closed port. */
async function start(): Promise<Host> {
  const host = await Host.start();
  await host.sh(`: >/run/hosts; echo 'nameserver 127.0.0.1' >/run/resolv.conf
    mount --bind /run/hosts /etc/hosts; mount --bind /run/resolv.conf /etc/resolv.conf`);
  host.keep(host.spawn([tollgate, 'test-pod', '--serve', '8080'], { env: { HOSTNAME: 'open' } }));
  await until('the server to listen', async () => (await host.sh('ss -Hltn sport = 8080')) !== '');
  return host;
}

const asksFor = (question: object) => [tollgate, 'test-pod', '--ask', JSON.stringify([question])];
const asks = (timeoutMs: number) => asksFor({ address: 'late.test', port: 8080, timeoutMs });
/** Datagrams that met a closed port. */
const refused = async (host: Host): Promise<number> =>
  Number((await host.sh(`nstat -asz UdpNoPorts`)).match(/UdpNoPorts +(\d+)/)![1]);

test('a name that becomes known before the timeout is answered', async () => {
  using host = await start();
  const asking = host.spawn(asks(240_000));
  const said = text(asking.stdout!);
  const ended = once(asking, 'close');
  // /etc/hosts is read before DNS is asked.
  await until('DNS to be asked', async () => (await refused(host)) > 0);
  host.write('/run/hosts', '127.0.0.1 late.test\n');
  await ended;
  assert.deepEqual(JSON.parse(await said), [{ kind: 'answer', text: 'hello from open' }]);
});

test('a name that stays unknown is told as such', async () => {
  using host = await start();
  const [reply] = JSON.parse(await host.must(asks(1_000))) as [{ kind: string; why: string }];
  assert.equal(reply.kind, 'silence');
  assert.match(reply.why, /^the name late\.test was not known within 1000 ms \(E\w+\)$/);
});

for (const { isNew, reply } of [
  { isNew: true, reply: { kind: 'answer', text: 'hello from open' } },
  { isNew: false, reply: { kind: 'silence', why: 'connect ECONNREFUSED 127.0.0.1:8081' } },
])
  test(`a ${isNew ? 'Service that nodes have yet to hear of' : 'port that no process serves'} is asked ${isNew ? 'until the timeout' : 'once'}`, async () => {
    using host = await start();
    const asking = host.spawn(asksFor({ address: '127.0.0.1', port: 8081, timeoutMs: 240_000, isNew }));
    const said = text(asking.stdout!);
    const ended = once(asking, 'close');
    const resets = async () => Number((await host.sh('nstat -asz TcpOutRsts')).match(/TcpOutRsts +(\d+)/)![1]);
    await until('it to be refused', async () => (await resets()) > 0);
    host.keep(host.spawn([tollgate, 'test-pod', '--serve', '8081'], { env: { HOSTNAME: 'open' } }));
    await ended;
    assert.deepEqual(JSON.parse(await said), [reply]);
  });

test('a Service that stays unheard of is told as what it is', async () => {
  using host = await start();
  const question = asksFor({ address: '127.0.0.1', port: 8081, timeoutMs: 1_000, isNew: true });
  assert.deepEqual(JSON.parse(await host.must(question)), [
    { kind: 'silence', why: 'connect ECONNREFUSED 127.0.0.1:8081' },
  ]);
});
