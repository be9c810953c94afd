/** The page of flows in a browser, against an agent that records; and what strangers may ask of it. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import test, { after, before, suite } from 'node:test';
import { NetlinkSocket } from '../../lib/kernel/netlink.ts';
import { type Agent, command, startAgent } from '../support/agent-process.ts';
import { Browser } from '../support/browser.ts';
import { until } from '../support/host.ts';
import { onlyFrom, type PluggedPod, PolicyHost } from '../support/policy-host.ts';
import { manyFlows, openFlows } from '../support/tracked-flows.ts';

const PLACE = '127.0.0.1:9468';
/** Where a person finds pictures of it, if anywhere. */
const pictures = process.env['TOLLGATE_PICTURES'];

let host: PolicyHost;
let agent: Agent;
let web: PluggedPod;
let client: PluggedPod;
let stranger: PluggedPod;
let link: string;
let token: string;

before(async () => {
  host = await PolicyHost.start();
  host.put(
    'web.yaml',
    onlyFrom('web', { app: 'web' }, { app: 'client' }),
    onlyFrom('idle', { app: 'none' }, { app: 'client' }),
  );
  web = await host.plug('web', { labels: { app: 'web' } });
  client = await host.plug('client', { labels: { app: 'client' } });
  stranger = await host.plug('stranger', { labels: { app: 'stranger' } });
  agent = await startAgent(host.host, [...command, '--flows', '--flow-accounting', '--ui', PLACE]);
  link = await until('the page to be shown', async () => {
    const { exit, stdout } = await host.type(['flows', '--open']);
    return exit === 0 ? stdout.trim() : undefined;
  });
  token = link.split('#')[1]!;
  probe();
});
after(() => {
  for (const each of [web, client, stranger, agent, host]) each?.[Symbol.dispose]();
});

/** A flow that is allowed and one that is denied, in each family. */
function probe(): void {
  for (const family of [4, 6] as const)
    for (const from of [client, stranger])
      host.arrives(from.end, host.packet(from.addresses[family], web.addresses[family]), web.end);
}

/** What curl gets: status and body. */
async function ask(
  path: string,
  ...options: readonly string[]
): Promise<{ status: number; text: string; head: string }> {
  const { stdout } = await host.host.run([
    'curl',
    '-s',
    '-i',
    '--max-time',
    '20',
    ...options,
    `http://${PLACE}${path}`,
  ]);
  const [head = '', ...text] = stdout.split('\r\n\r\n');
  return { status: Number(/ (\d{3})/.exec(head)?.[1]), head, text: text.join('\r\n\r\n') };
}

const known = (): readonly string[] => ['-H', `Authorization: Bearer ${token}`];

suite('what strangers may ask', () => {
  const attacks: [name: string, options: () => readonly string[], status: number][] = [
    ['nothing without the token', () => [], 401],
    ['nothing with another token', () => ['-H', `Authorization: Bearer ${token.slice(1)}0`], 401],
    ['nothing with the token in the address', () => ['-G', '-d', `token=${token}`], 401],
    ['nothing by a name that is not this host’s', () => [...known(), '-H', 'Host: evil.example'], 403],
    [
      'nothing by a name that begins as this host’s',
      () => [...known(), '-H', 'Host: localhost.evil.example:9468'],
      403,
    ],
    ['nothing without a name', () => [...known(), '-H', 'Host:'], 400],
    ['nothing from a page of another site', () => [...known(), '-H', 'Sec-Fetch-Site: cross-site'], 403],
    ['nothing but GET', () => [...known(), '-X', 'POST'], 405],
    ['but what its own page asks, through a port-forward', () => [...known(), '-H', 'Host: localhost:12345'], 200],
  ];
  for (const [name, options, status] of attacks)
    test(name, async () => {
      const { status: given, text } = await ask('/flows', ...options());
      assert.equal(given, status, text);
      if (status !== 200) assert.ok(!text.includes('"kind"'), text);
    });

  test('the page itself tells nothing, and forbids whatever it does not need', async () => {
    const { status, head, text } = await ask('/');
    assert.equal(status, 200);
    assert.match(
      head,
      /content-security-policy: default-src 'none'; script-src 'sha256-[^']+'; style-src 'sha256-[^']+'; connect-src 'self'/,
    );
    assert.doesNotMatch(head, /unsafe|access-control/i);
    assert.ok(!text.includes(token) && !text.includes('10.77'));
  });

  test('a pod of a tenant does not reach it', async () => {
    const { exit } = await host.host.run(['curl', '-s', '--max-time', '2', `http://10.77.0.1:9468/`], {
      netns: stranger.call.netns!,
    });
    assert.notEqual(exit, 0);
  });

  test('a thousand slow readers keep nobody from asking, and the agent small', async () => {
    const slow = host.host.spawn([
      process.execPath,
      '-e',
      `const net = require('node:net');
       for (let i = 0; i < 1000; i++) {
         const socket = net.connect(9468, '127.0.0.1', () => {
           socket.write('GET /flows/live HTTP/1.1\\r\\nHost: localhost\\r\\nAuthorization: Bearer ${token}\\r\\n\\r\\n');
           socket.pause();
           if (i === 999) console.log('there');
         }).on('error', () => {});
       }
       setTimeout(() => {}, 1e6);`,
    ]);
    await new Promise(resolve => slow.stdout!.once('data', resolve));
    for (let i = 0; i < 5; i++) probe();
    assert.equal((await ask('/flows', ...known())).status, 200);
    const { exit } = await host.type(['flows']);
    assert.equal(exit, 0, 'the command line is answered on its own socket');
    slow.kill('SIGKILL');
  });
});

suite('in a browser', () => {
  let browser: Browser;
  before(async () => {
    browser = await Browser.start(host.host.pid);
    await browser.size(1280, 800);
    await browser.colours('light');
    await browser.open(link);
  });
  after(async () => await browser?.[Symbol.asyncDispose]());

  const text = (selector: string): Promise<string> =>
    browser.evaluate(`document.querySelector(${JSON.stringify(selector)})?.textContent ?? ''`);
  const count = (selector: string): Promise<number> =>
    browser.evaluate(`document.querySelectorAll(${JSON.stringify(selector)}).length`);
  const rowsAre = (some: (rows: number) => boolean): Promise<boolean> =>
    until('the rows', async () => some(await count('.row')));
  const filterBy = (words: string): Promise<void> =>
    browser.evaluate(`{ const f = document.getElementById('filter'); f.value = ${JSON.stringify(words)};
      f.dispatchEvent(new Event('input', { bubbles: true })); }`);
  const picture = async (name: string): Promise<void> => {
    if (pictures) writeFileSync(`${pictures}/${name}.png`, await browser.screenshot());
  };

  test('flows come as they are, denied ones in front', async () => {
    await rowsAre(rows => rows >= 4);
    probe();
    assert.equal(await text('.row .verdict'), 'denied');
    assert.equal(await text('.row .from'), 'default/stranger');
    assert.equal(await browser.evaluate('location.hash'), '', 'the token is not in sight any more');
    await picture('live');
  });

  test('by keyboard: a row is chosen, opened and closed, and says why, by which policy, and what would allow it', async () => {
    await browser.press('ArrowDown');
    await browser.press('Enter');
    await until('the reason', async () => (await text('aside')).includes('What would allow it'));
    const why = await text('aside');
    assert.match(why, /NetworkPolicy\/default\/web isolates default\/web for ingress/);
    assert.match(why, /kind: NetworkPolicy[\s\S]*name: web/);
    assert.match(await text('pre.remedy'), /app: stranger/);
    await picture('reason');
    await browser.press('Escape');
    assert.equal(await browser.evaluate('document.querySelector("aside").hidden'), true);
  });

  test('a filter leaves what passes, and a wrong one says what to write', async () => {
    await filterBy('verdict:allowed pod:client');
    await until('the rows', async () => (await count('.row.denied')) === 0 && (await count('.row.allowed')) > 0);
    await filterBy('prot:80');
    await until('the words', async () => /ns: pod: port:/.test(await text('#status.wrong')));
    await filterBy('');
    await until('all rows', async () => (await count('.row.denied')) > 0 && (await count('.row.allowed')) > 0);
  });

  test('paused, nothing moves and what comes is counted', async () => {
    await browser.evaluate('document.getElementById("grid").focus()');
    await browser.press(' ');
    const before = await text('#status');
    assert.match(before, /^Paused/);
    const [shown] = /\d+/.exec(before)!;
    probe();
    const paused = await until('the count', async () => {
      const words = await text('#status');
      return / more since the pause/.test(words) ? words : undefined;
    });
    assert.equal(/\d+/.exec(paused)![0], shown);
    await browser.press(' ');
    await until('the rest', async () => /^Live/.test(await text('#status')));
  });

  test('the map shows who talks to whom, denied in red; policies show hits and those without', async () => {
    await browser.press('2');
    await until('the map', async () => (await count('svg path.denied')) === 1 && (await count('svg rect')) === 4);
    // The fourth is the node: a pod has just asked for its page.
    await picture('map');
    await browser.press('3');
    await until('the policies', async () => /default\/idle/.test(await text('#policies')));
    assert.match(await text('#policies'), /2 policies.*1 decided nothing/);
    await picture('policies');
    await browser.press('1');
  });

  test('10,000 rows are a handful of elements, from the first to the last', async () => {
    using socket = host.inside(() => NetlinkSocket.open('netfilter'));
    openFlows(socket.exchange, manyFlows(client.addresses[4], web.addresses[4], 12_000));
    const status = () => ask('/flows/status', ...known());
    await until(
      'all to be recorded',
      async () => (JSON.parse((await status()).text) as { kept: number }).kept > 12_000,
    );
    // The token is kept for the tab.
    await browser.send('Page.reload');
    const all = () => browser.evaluate<string>(`document.getElementById('grid')?.getAttribute('aria-rowcount')`);
    await until('all rows', async () => (await all()) === '10000');
    for (const key of ['End', 'Home']) {
      await browser.press(key);
      const at = key === 'End' ? '10000' : '1';
      await until(`row ${at}`, async () => (await count(`.row.chosen[aria-rowindex="${at}"]`)) === 1);
      const drawn = await count('.row');
      assert.ok(drawn > 10 && drawn < 60, `${drawn} rows are drawn`);
    }
  });

  test('in the dark, and 375 pixels wide, nothing lies beside the page', async () => {
    await browser.colours('dark');
    await picture('dark');
    await browser.size(375, 740);
    await rowsAre(rows => rows > 0);
    assert.equal(await browser.evaluate('document.documentElement.scrollWidth'), 375);
    await picture('narrow');
  });

  test('a name with markup is text', async () => {
    assert.equal(await count('.row b, .row script, aside b'), 0);
  });

  test('nothing was asked of anybody else, and the console says nothing', async () => {
    const urls = browser.events('Network.requestWillBeSent').map(event => (event['request'] as { url: string }).url);
    assert.ok(urls.length > 0);
    const others = urls.filter(url => !url.startsWith(`http://${PLACE}/`) && !url.startsWith('data:'));
    assert.deepEqual(others, []);
    // The wrong filter was answered with 400, which browsers mention.
    assert.deepEqual(
      browser.complaints().filter(words => !/400/.test(words)),
      [],
    );
  });
});
