/** The page of flows while the agent does not record yet, is away, or is another one: it says so, and goes on by itself. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { NetlinkSocket } from '../../lib/kernel/netlink.ts';
import { command, denialsAreHeard, startAgent } from '../support/agent-process.ts';
import { FlowPage, PLACE, servePage } from '../support/flow-page.ts';
import { KubeHost } from '../support/kube-host.ts';
import { onlyFrom, type PluggedPod, PolicyHost } from '../support/policy-host.ts';
import { openFlows } from '../support/tracked-flows.ts';
import { until } from '../support/until.ts';

/** Opens a flow to each of these ports, which the kernel tracks for ten minutes. */
function open(host: PolicyHost, from: PluggedPod, to: PluggedPod, ...ports: readonly number[]): void {
  using socket = host.inside(() => NetlinkSocket.open('netfilter'));
  const ends = { from: from.addresses[4], to: to.addresses[4], sport: 1 };
  openFlows(
    socket.exchange,
    ports.map(dport => ({ ...ends, dport })),
  );
}

const status = (page: FlowPage): Promise<string> => page.text('#status');
const says = (page: FlowPage, words: RegExp): Promise<boolean> =>
  until(`the page to say ${words}`, async () => words.test(await status(page)));

/** Ports of the rows, the least first. */
async function portsOf(page: FlowPage): Promise<readonly number[]> {
  const targets = await page.texts('#grid .row .to');
  return targets.map(text => Number(/ (\d+)\/UDP$/.exec(text)?.[1])).sort((a, b) => a - b);
}

async function portsAre(page: FlowPage, ...ports: readonly number[]): Promise<void> {
  await until(`rows for ${ports}`, async () => (await page.rows()) >= ports.length);
  assert.deepEqual(await portsOf(page), ports);
}

/** Commands that keep sixteen live answers open. */
const readers = (token: string): string =>
  `for i in $(seq 16); do curl -sN -H 'Authorization: Bearer ${token}' http://${PLACE}/flows/live >/dev/null & done; wait`;

/** A program that answers in place of the agent, and prints what it was asked and with which token. */
const impostor = `require('node:http').createServer((request, response) => {
  console.log(request.url, request.headers.authorization ?? 'no token');
  response.end('{}');
}).listen(9468, '127.0.0.1', () => console.log('listening'));`;

test('before flows are recorded the page says what the agent waits for, in each of its views, and then begins by itself', async () => {
  await using host = await KubeHost.startCluster();
  host.api.refuseAll(true);
  const starting = host.startAgent('--flows', '--ui', PLACE);
  const link = await until('the page to be served', async () => {
    const { exit, stdout } = await host.type(['flows', '--open']);
    return exit === 0 ? stdout.trim() : undefined;
  });
  await using page = await FlowPage.open(host, link);
  await says(page, /the agent begins to record flows: it waits until pods and policies are known/);
  const { exit, stderr } = await host.type(['flows']);
  assert.equal(exit, 3);
  assert.match(stderr, /Cannot show flows: the agent begins to record flows/);
  await page.click('#tab-policies');
  host.api.refuseAll(false);
  using agent = await starting;
  void agent;
  await says(page, /^Live/);
  await until('the policies', async () => /Flows are recorded since/.test(await page.text('#policies')));
  using web = await host.run({ name: 'web' });
  using client = await host.run({ name: 'client' });
  await page.click('#tab-flows');
  open(host, client, web, 11);
  await portsAre(page, 11);
});

test('cut off from the agent, the page keeps its rows and says so; what was meanwhile is there once it is back', async () => {
  using host = await PolicyHost.start();
  using web = await host.plug('web');
  using client = await host.plug('client');
  const { agent, link } = await servePage(host);
  using _ = agent;
  await using page = await FlowPage.open(host, link);
  open(host, client, web, 11, 12);
  await portsAre(page, 11, 12);
  const network = (offline: boolean) =>
    page.browser.send('Network.emulateNetworkConditions', {
      ...{ offline, latency: 0, downloadThroughput: -1, uploadThroughput: -1 },
    });
  await network(true);
  // What is open stays so: as many others as there is room for take the page's place.
  const others = host.host.spawn(['sh', '-c', readers(link.split('#')[1]!)]);
  void others;
  await says(page, /Cut off from the agent/);
  assert.deepEqual(await portsOf(page), [11, 12]);
  await page.picture('cut-off');
  open(host, client, web, 13, 14);
  await until('them to be recorded', async () => {
    const { stdout } = await host.type(['flows', '-o', 'json', 'port:14']);
    return stdout.includes('"port":14');
  });
  await network(false);
  await says(page, /^Live/);
  await portsAre(page, 11, 12, 13, 14);
});

test('the page goes on with the next agent, says that it has begun anew, and shows no flow twice', async () => {
  using host = await PolicyHost.start();
  host.put('web.yaml', onlyFrom('web', { app: 'web' }, { app: 'client' }));
  using web = await host.plug('web', { labels: { app: 'web' } });
  using client = await host.plug('client');
  const { agent, link } = await servePage(host);
  using _ = agent;
  await using page = await FlowPage.open(host, link);
  open(host, client, web, 11);
  await portsAre(page, 11);
  agent.child.kill('SIGKILL');
  await says(page, /Cut off from the agent/);
  await until('the agent to be gone', () => agent.child.signalCode !== null);
  // The page asks the program that listens there meanwhile for a proof, and does not tell it the token.
  const stranger = host.host.spawn([process.execPath, '-e', impostor]);
  let asked = '';
  stranger.stdout!.on('data', (chunk: Buffer) => {
    asked += chunk.toString();
  });
  await says(page, /Another program answers in place of the agent/);
  await until('it to have been asked for a proof', () => /\/proof\?nonce=\S+ no token/.test(asked));
  stranger.kill('SIGKILL');
  await until('it to be gone', () => stranger.signalCode !== null);
  assert.doesNotMatch(asked, /Bearer/);
  open(host, client, web, 12);
  using next = await startAgent(host.host, [...command, '--flows', '--ui', PLACE]);
  void next;
  await denialsAreHeard(host.host);
  await says(page, /^Live.*the agent has begun anew, what was before [\d:]+ is not here$/);
  await portsAre(page, 11, 12);
  open(host, client, web, 13);
  await portsAre(page, 11, 12, 13);
  await page.focus('grid');
  await page.browser.press('Home');
  await page.browser.press('Enter');
  await until('the policy', async () => /kind: NetworkPolicy/.test(await page.text('#detail pre')));
  await page.picture('begun-anew');
});
