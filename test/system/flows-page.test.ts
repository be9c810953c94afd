/** The page of flows in a browser, against an agent that records; and what strangers may ask of it. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import test, { after, before, suite } from 'node:test';
import type { FlowRecord } from '../../lib/flows/model.ts';
import { parseAddress } from '../../lib/ip/address.ts';
import { NetlinkSocket } from '../../lib/kernel/netlink.ts';
import type { Agent } from '../support/agent-process.ts';
import { named } from '../support/cli-host.ts';
import { cni } from '../support/cni.ts';
import { FlowPage, PLACE, servePage } from '../support/flow-page.ts';
import { onlyFrom, type PluggedPod, PolicyHost, pods, policy } from '../support/policy-host.ts';
import { manyFlows, openFlows } from '../support/tracked-flows.ts';
import { until } from '../support/until.ts';

/** An element of the page, or a script, wherever it is taken for markup. */
const markup = `<img src=x onerror="alert(1)"><b>'&amp;</b></script></style>`;

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
  ({ agent, link } = await servePage(host, '--flow-accounting'));
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

const residentOf = (pid: number): number =>
  Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]) / 1024;

/** What curl gets: status and body. */
async function ask(
  path: string,
  ...options: readonly string[]
): Promise<{ status: number; text: string; head: string }> {
  const { stdout } = await host.host.run(['curl', '-s', '-i', ...options, `http://${PLACE}${path}`]);
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
    using undo = new DisposableStack();
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
    undo.defer(() => slow.kill('SIGKILL'));
    await new Promise(resolve => slow.stdout!.once('data', resolve));
    const waiting = `ss -Htn state established '( sport = :9468 )'`;
    await until('all but a few to have given way', async () => {
      const lines = (await host.host.sh(waiting)).split('\n').filter(line => line !== '');
      return lines.length <= 16 && lines.length > 0;
    });
    const before = residentOf(agent.child.pid!);
    using socket = host.inside(() => NetlinkSocket.open('netfilter'));
    for (let round = 0; round < 5; round++) {
      openFlows(socket.exchange, manyFlows(client.addresses[4], web.addresses[4], 4_000));
      const seen = await until('them to be recorded', async () => {
        const { kept } = JSON.parse((await ask('/flows/status', ...known())).text) as { kept: number };
        return kept >= 4_000 * (round + 1);
      });
      assert.ok(seen);
      await host.host.sh('conntrack -F');
    }
    assert.equal((await ask('/flows', ...known())).status, 200);
    const { exit } = await host.type(['flows']);
    assert.equal(exit, 0, 'the command line is answered on its own socket');
    const grown = residentOf(agent.child.pid!) - before;
    // A few MiB on a machine that has time to collect garbage; a thousand readers would hold gigabytes.
    assert.ok(grown < 256, `${grown} MiB`);
  });
});

suite('in a browser', () => {
  let page: FlowPage;
  before(async () => {
    page = await FlowPage.open(host, link);
  });
  after(async () => await page?.[Symbol.asyncDispose]());

  const rowsAre = (some: (rows: number) => boolean): Promise<boolean> =>
    until('the rows', async () => some(await page.count('#grid .row')));

  test('flows come as they are, denied ones in front', async () => {
    await rowsAre(rows => rows >= 4);
    probe();
    await until('a denied one in front', async () => (await page.text('#grid .row .verdict')) === 'denied');
    assert.equal(await page.text('#grid .row .from'), 'default/stranger');
    assert.equal(await page.browser.evaluate('location.hash'), '', 'the token is not in sight any more');
    await page.picture('live');
  });

  test('by keyboard: a row is chosen, opened and closed, and says why, by which policy, and what would allow it', async () => {
    await page.browser.press('ArrowDown');
    await page.browser.press('Enter');
    await until('the reason', async () => (await page.text('#detail')).includes('What would allow it'));
    const why = await page.text('#detail');
    assert.match(why, /NetworkPolicy\/default\/web isolates default\/web for ingress/);
    assert.match(why, /kind: NetworkPolicy[\s\S]*name: web/);
    assert.match(await page.text('pre.remedy'), /app: stranger/);
    await page.picture('reason');
    await page.browser.press('Escape');
    assert.equal(await page.browser.evaluate('document.getElementById("detail").hidden'), true);
  });

  test('a filter leaves what passes, and a wrong one says what to write', async () => {
    await page.filterBy('verdict:allowed pod:client');
    await until(
      'the rows',
      async () => (await page.count('#grid .row.denied')) === 0 && (await page.count('#grid .row.allowed')) > 0,
    );
    await page.filterBy('prot:80');
    await until('the words', async () => /ns: pod: port:/.test(await page.text('#status.wrong')));
    await page.filterBy('');
    await until(
      'all rows',
      async () => (await page.count('#grid .row.denied')) > 0 && (await page.count('#grid .row.allowed')) > 0,
    );
  });

  test('paused, nothing moves and what comes is counted', async () => {
    await page.focus('grid');
    await page.browser.press(' ');
    const before = await page.text('#status');
    assert.match(before, /^Paused/);
    const [shown] = /\d+/.exec(before)!;
    probe();
    const paused = await until('the count', async () => {
      const words = await page.text('#status');
      return / more since the pause/.test(words) ? words : undefined;
    });
    assert.equal(/\d+/.exec(paused)![0], shown);
    await page.browser.press(' ');
    await until('the rest', async () => /^Live/.test(await page.text('#status')));
  });

  test('what begins while the list of flows is on its way is in the table, too', async () => {
    // The agent has answered, and the page does not know yet.
    await page.browser.send('Fetch.enable', {
      patterns: [{ urlPattern: '*/flows/live\\?*', requestStage: 'Response' }],
    });
    await page.filterBy('port:8');
    const [held] = await until('the answer', () => {
      const events = page.browser.events('Fetch.requestPaused');
      return events.length > 0 ? events : undefined;
    });
    using socket = host.inside(() => NetlinkSocket.open('netfilter'));
    openFlows(socket.exchange, [{ from: client.addresses[4], to: web.addresses[4], sport: 8, dport: 8 }]);
    await until('it to be recorded', async () =>
      /"port":8,/.test((await ask('/flows?filter=port:8', ...known())).text),
    );
    await page.browser.send('Fetch.continueRequest', { requestId: held!['requestId'] });
    await page.browser.send('Fetch.disable');
    await until('its row', async () => /default\/web {2}8\/UDP/.test(await page.text('#grid .row')));
    await page.filterBy('');
  });

  test('the map shows who talks to whom, denied in red; policies show hits and those without', async () => {
    await page.browser.press('2');
    await until(
      'the map',
      async () => (await page.count('svg path.denied')) === 1 && (await page.count('svg rect')) === 4,
    );
    // The fourth is the node: a pod has just asked for its page.
    await page.picture('map');
    await page.browser.press('4');
    await until('the policies', async () => /default\/idle/.test(await page.text('#policies')));
    assert.match(await page.text('#policies'), /2 policies.*1 decided nothing/);
    await page.picture('policies');
    await page.browser.press('1');
  });

  test('the matrix of now says who may reach whom, by keyboard and for other ports', async () => {
    await page.browser.press('3');
    await until('the matrix', async () =>
      /^3 × 3 pods: 5 pairs allowed, 1 denied$/.test(await page.text('#matrix-count')),
    );
    await page.focus('matrix-grid');
    await page.browser.press('n');
    assert.match(
      await page.text('#matrix-detail'),
      /default\/stranger → default\/web.*NetworkPolicy\/default\/web isolates default\/web for ingress/,
    );
    await page.picture('matrix');
    host.put(
      'all.yaml',
      policy('all', { ...pods({}), policyTypes: ['Ingress'], ingress: [{ ports: [{ port: 443 }] }] }),
    );
    await until('the new policy', async () => /1 pairs allowed, 5 denied$/.test(await page.text('#matrix-count')));
    assert.match(await page.text('#matrix-detail h2'), /default\/stranger → default\/web/, 'the chosen pair stays');
    await page.fill('matrix-port', '443/TCP', 'change');
    await until('the other port', async () => /6 pairs allowed, 0 denied$/.test(await page.text('#matrix-count')));
    await page.fill('matrix-port', 'http', 'change');
    await until('the words', async () => /port: give one as in 80\/TCP/.test(await page.text('#status.wrong')));
    await page.fill('matrix-port', '80/TCP', 'change');
    host.remove('all.yaml');
    await host.apply();
    await page.browser.press('Escape');
    await page.click('#tab-flows');
  });

  test('names with markup are text wherever they stand', async () => {
    const call = host.callOf('hostile', await host.host.pod());
    for (const args of [named(markup, 'x'), named('x', markup)]) {
      const { exit } = await cni(host.host, 'ADD', { ...call, args });
      assert.notEqual(exit, 0, 'no pod is plugged in under such a name');
    }
    // A policy is in force under whatever name its file gives it, which is told as an error.
    host.put('hostile.yaml', onlyFrom(markup, { app: 'web' }, { app: 'client' }));
    await host.type(['policy', 'apply']);
    using socket = host.inside(() => NetlinkSocket.open('netfilter'));
    openFlows(socket.exchange, [{ from: client.addresses[4], to: web.addresses[4], sport: 7, dport: 7 }]);
    await page.filterBy('port:7');
    await until(
      'the row',
      async () => (await page.count('#grid .row')) === 1 && (await page.text('#grid .row .by')).includes(markup),
    );
    await page.focus('grid');
    await page.browser.press('Home');
    await page.browser.press('Enter');
    await until('the policy', async () => (await page.text('#detail')).includes(`name: `));
    assert.ok((await page.text('#detail')).includes(markup));
    await page.picture('hostile');
    await page.browser.press('Escape');
    await page.browser.press('3');
    await until('the matrix of now', async () => / 1 denied$/.test(await page.text('#matrix-count')));
    await page.focus('matrix-grid');
    await page.browser.press('n');
    await until('its name in the matrix', async () => (await page.text('#matrix-detail')).includes(markup));
    await page.click('#tab-policies');
    await until('its name among policies', async () => (await page.text('#policies')).includes(markup));
    assert.equal(await page.count('img, body script ~ script, #detail b, #policies b, #grid b'), 0);
    const { text: json, head } = await ask('/flows?filter=port:7', ...known());
    assert.match(head, /content-type: application\/jsonl/);
    assert.match(head, /x-content-type-options: nosniff/);
    const flow = JSON.parse(json) as FlowRecord;
    assert.ok(flow.ingress!.by.includes(`NetworkPolicy/default/${markup}`));
    host.remove('hostile.yaml');
    await host.apply();
    await page.filterBy('');
    await page.click('#tab-flows');
  });

  test('a map of hundreds of pods is a box for each namespace', async () => {
    const many = Array.from({ length: 300 }, (_, i) => ({
      ...{ apiVersion: 'v1', kind: 'Pod', metadata: { namespace: `team-${i % 12}`, name: `app${i}` } },
      status: { podIP: `10.78.${i >> 7}.${(i & 127) + 1}` },
    }));
    host.put('many.yaml', ...many);
    await host.apply();
    using socket = host.inside(() => NetlinkSocket.open('netfilter'));
    openFlows(
      socket.exchange,
      many.map(({ status }, i) => {
        const to = parseAddress(status.podIP)!;
        return { from: client.addresses[4], to, sport: 1000 + i, dport: 9 };
      }),
    );
    await page.filterBy('port:9');
    await page.browser.press('2');
    await until('the boxes', async () => (await page.count('#canvas rect')) === 13);
    assert.match(await page.text('#map-note'), /^Too many workloads/);
    await page.picture('map-many');
    await page.filterBy('port:9 ns:team-7');
    await until('those of one namespace', async () => (await page.count('#canvas rect')) === 26);
    assert.doesNotMatch(await page.text('#map-note'), /Too many/);
    await page.picture('map-one');
    host.remove('many.yaml');
    await host.apply();
    await page.filterBy('');
    await page.browser.press('1');
  });

  test('what would allow a flow is copied, and allows it', async () => {
    probe();
    await page.browser.send('Browser.grantPermissions', {
      permissions: ['clipboardReadWrite', 'clipboardSanitizedWrite'],
    });
    await page.filterBy('verdict:denied pod:stranger');
    await until(
      'the rows',
      async () => (await page.count('#grid .row.allowed')) === 0 && (await page.count('#grid .row.denied')) > 0,
    );
    await page.focus('grid');
    await page.browser.press('Home');
    await page.browser.press('Enter');
    await until('the button', async () => (await page.count('#detail .remedy + button')) === 1);
    await page.click('#detail .remedy + button');
    await until('it to be copied', async () => (await page.text('#detail .remedy + button')) === 'Copied');
    const copied = await page.browser.evaluate<string>('navigator.clipboard.readText()');
    assert.match(copied, /^apiVersion: networking.k8s.io\/v1\nkind: NetworkPolicy/);
    assert.ok(!host.reaches(stranger, web));
    host.put('copied.yaml', copied);
    await host.apply();
    assert.ok(host.arrives(stranger.end, host.packet(stranger.addresses[4], web.addresses[4]), web.end));
    host.remove('copied.yaml');
    await host.apply();
    await page.browser.press('Escape');
    await page.filterBy('');
  });

  test('10,000 rows are a handful of elements, from the first to the last', async () => {
    using socket = host.inside(() => NetlinkSocket.open('netfilter'));
    const recorded = async (): Promise<number> =>
      (JSON.parse((await ask('/flows/status', ...known())).text) as { allowed: number }).allowed;
    const before = await recorded();
    openFlows(socket.exchange, manyFlows(client.addresses[4], web.addresses[4], 12_000));
    // One that came later would have the last row give way.
    await until('all to be recorded', async () => (await recorded()) >= before + 12_000);
    // The token is kept for the tab.
    await page.browser.openAgain();
    await until('all rows', async () => (await page.rows()) === 10_000);
    for (const key of ['End', 'Home']) {
      await page.browser.press(key);
      const at = key === 'End' ? '10000' : '1';
      await until(`row ${at}`, async () => (await page.count(`#grid .row.chosen[aria-rowindex="${at}"]`)) === 1);
      const drawn = await page.count('#grid .row');
      assert.ok(drawn > 10 && drawn < 60, `${drawn} rows are drawn`);
    }
  });

  test('beside 10,000 rows a flow that comes is a row that is made, and no other is made again', async () => {
    await page.browser.evaluate(`{
      window.made = [];
      const grid = document.getElementById('grid');
      new MutationObserver(list => {
        for (const { addedNodes } of list) for (const each of addedNodes) if (each.matches?.('.row')) made.push(each.textContent);
      }).observe(grid, { childList: true, subtree: true });
      grid.scrollTop = 0;
    }`);
    using socket = host.inside(() => NetlinkSocket.open('netfilter'));
    const [from, to] = [client.addresses[4], web.addresses[4]];
    await page.click('#denied-first');
    await until('the newest in front', async () => !/denied/.test(await page.text('#grid .row')));
    await page.browser.evaluate('made.length = 0');
    for (const dport of [11, 12, 13]) {
      openFlows(socket.exchange, [{ from, to, sport: 1, dport }]);
      await until('its row', async () => new RegExp(`default/web  ${dport}/UDP`).test(await page.text('#grid .row')));
    }
    const made = await page.browser.evaluate<readonly string[]>('made');
    assert.deepEqual(
      made.map(row => /default\/web {2}(\d+\/UDP)/.exec(row)?.[1]),
      ['11/UDP', '12/UDP', '13/UDP'],
    );
    await page.click('#denied-first');
  });

  test('in the dark, and 375 pixels wide, nothing lies beside the page', async () => {
    await page.browser.colours('dark');
    await page.picture('dark');
    await page.click('#tab-matrix');
    await until('the matrix', async () => (await page.count('#matrix .cell.denied')) > 1);
    await page.picture('dark-matrix');
    await page.browser.size(375, 740);
    await rowsAre(rows => rows > 0);
    for (const view of ['map', 'matrix', 'policies', 'flows']) {
      await page.click(`#tab-${view}`);
      await until(view, async () => (await page.count(`#${view}:not([hidden]) :is(.row, rect, td)`)) > 0);
      assert.equal(await page.browser.evaluate('document.documentElement.scrollWidth'), 375, view);
      await page.picture(`narrow-${view}`);
    }
  });

  test('nothing was asked of anybody else, and the console says nothing', async () => {
    const urls = page.browser
      .events('Network.requestWillBeSent')
      .map(event => (event['request'] as { url: string }).url);
    assert.ok(urls.length > 0);
    const others = urls.filter(url => !url.startsWith(`http://${PLACE}/`) && !url.startsWith('data:'));
    assert.deepEqual(others, []);
    // The wrong filter was answered with 400, which browsers mention.
    assert.deepEqual(
      page.browser.complaints().filter(words => !/400/.test(words)),
      [],
    );
  });
});
