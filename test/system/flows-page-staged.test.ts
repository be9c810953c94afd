/** Staged policies on the page of flows, against an agent that records, in a browser. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import test, { after, before } from 'node:test';
import { type Agent, command, startAgent } from '../support/agent-process.ts';
import { Browser } from '../support/browser.ts';
import type { Json } from '../support/cni.ts';
import { until } from '../support/host.ts';
import { onlyFrom, type PluggedPod, PolicyHost, pods, policy } from '../support/policy-host.ts';

/** Where a person finds pictures of it, if anywhere. */
const pictures = process.env['TOLLGATE_PICTURES'];

let host: PolicyHost;
let agent: Agent;
let web: PluggedPod;
let client: PluggedPod;
let stranger: PluggedPod;
let browser: Browser;

const staged = (manifest: Json): Json => ({
  ...manifest,
  metadata: { ...(manifest['metadata'] as Json), annotations: { 'tollgate.dev/staged': 'true' } },
});

const cluster = (tier: string, ingress: readonly Json[]): Json => ({
  ...{ apiVersion: 'policy.networking.k8s.io/v1alpha2', kind: 'ClusterNetworkPolicy' },
  metadata: { name: tier.toLowerCase() },
  spec: { tier, priority: 10, subject: { namespaces: {} }, ingress },
});

const from = [{ namespaces: {} }];
const port = (number: number) => [{ udp: { destinationPort: { number } } }];

before(async () => {
  host = await PolicyHost.start();
  host.put(
    'web.yaml',
    policy('web', {
      ...pods({ app: 'web' }),
      ingress: [{ from: [pods({ app: 'client' })] }, { from: [pods({ app: 'nobody' })] }],
    }),
    cluster('Admin', [{ name: 'unmet', action: 'Deny', from, protocols: port(9) }]),
    staged(cluster('Baseline', [{ action: 'Deny', from, protocols: port(80) }])),
    staged(onlyFrom('strangers', { app: 'web' }, { app: 'stranger' })),
    staged(
      policy('no-egress', { ...pods({ app: 'client' }), policyTypes: ['Egress'], egress: [{ ports: [{ port: 1 }] }] }),
    ),
  );
  web = await host.plug('web', { labels: { app: 'web' } });
  client = await host.plug('client', { labels: { app: 'client' } });
  stranger = await host.plug('stranger', { labels: { app: 'stranger' } });
  agent = await startAgent(host.host, [...command, '--flows', '--ui', '127.0.0.1:9468']);
  const link = await until('the page to be shown', async () => {
    const { exit, stdout } = await host.type(['flows', '--open']);
    return exit === 0 ? stdout.trim() : undefined;
  });
  // What is denied before the agent holds the log is not recorded.
  await host.host.sh('until grep -q "^ *7467 " /proc/net/netfilter/nfnetlink_log; do sleep 0.05; done');
  for (const source of [client, stranger])
    host.arrives(source.end, host.packet(source.addresses[4], web.addresses[4]), web.end);
  browser = await Browser.start(host.host.pid);
  await browser.size(1280, 800);
  await browser.colours('light');
  await browser.open(link);
});
after(async () => {
  await browser?.[Symbol.asyncDispose]();
  for (const each of [web, client, stranger, agent, host]) each?.[Symbol.dispose]();
});

const text = (selector: string): Promise<string> =>
  browser.evaluate(`document.querySelector(${JSON.stringify(selector)})?.innerText ?? ''`);
const texts = (selector: string): Promise<readonly string[]> =>
  browser.evaluate(`[...document.querySelectorAll(${JSON.stringify(selector)})].map(each => each.innerText)`);
const click = (selector: string): Promise<void> =>
  browser.evaluate(`document.querySelector(${JSON.stringify(selector)}).click()`);
const picture = async (name: string): Promise<void> => {
  if (pictures) writeFileSync(`${pictures}/${name}.png`, await browser.screenshot());
};

test('rows are marked whose flow would fare otherwise, and say by which staged policy', async () => {
  const marked = await until('both', async () => {
    const found = await texts('#grid .row.staged .would');
    return found.length === 2 ? found : undefined;
  });
  assert.deepEqual(marked, [
    'would be allowed by default/strangers (staged); default/web',
    'would be denied by default/no-egress (staged); default/web',
  ]);
  await picture('staged-rows');
});

test('a row opens to the verdict that would be, its reason, the rule, and the text of the staged policy', async () => {
  await click('#grid .row.staged.denied');
  await until('the text', async () => (await text('#detail')).includes('Staged: NetworkPolicy/default/strangers'));
  assert.match(
    await text('#detail dd.would'),
    /^allowed: NetworkPolicy\/default\/strangers ingress\[0] allows UDP 80 from default\/stranger$/,
  );
  const why = await text('#detail');
  assert.match(why, /tollgate.dev\/staged: "true"/);
  assert.match(why, /NetworkPolicy\/default\/web isolates default\/web for ingress/, 'beside what is so');
  await picture('staged-reason');
  await browser.press('Escape');
});

test('the policies are told with their hits and unused rules, and the staged ones with what they would change', async () => {
  await browser.evaluate('document.getElementById("grid").focus()');
  await click('#tab-policies');
  await until('both tables', async () => (await texts('#policies table')).length === 2);
  const rowsOf = (at: number): Promise<readonly string[]> =>
    browser.evaluate(
      `[...document.querySelectorAll('#policies table')[${at}].rows].slice(1).map(row => [...row.cells].map(cell => cell.innerText).join('|').replace(/\\d+:\\d+/, 'then'))`,
    );
  const found = await until('the flows to count', async () => {
    const rows = [await rowsOf(0), await rowsOf(1)];
    return rows.flat().filter(row => row.includes('then')).length === 3 ? rows : undefined;
  });
  assert.deepEqual(found, [
    [
      'NetworkPolicy/default/web|NetworkPolicy|1|1|1|then|ingress[1]',
      'ClusterNetworkPolicy/admin|Admin|3|0|0|never|ingress[0] "unmet"',
    ],
    [
      'NetworkPolicy/default/no-egress|NetworkPolicy|1|1|0|then|egress[0]',
      'NetworkPolicy/default/strangers|NetworkPolicy|1|0|1|then|',
      'ClusterNetworkPolicy/baseline|Baseline|3|0|0|never|ingress[0]',
    ],
  ]);
  await picture('staged-policies');
});

test('from a policy one comes to its flows', async () => {
  const [, second] = await texts('#policies table:nth-of-type(2) .policy');
  assert.equal(second, 'NetworkPolicy/default/strangers');
  await browser.evaluate(
    `[...document.querySelectorAll('#policies .policy')].find(each => each.innerText.endsWith('strangers')).click()`,
  );
  assert.equal(await browser.evaluate('document.getElementById("filter").value'), 'staged:default/strangers');
  await until('that flow alone', async () => {
    const rows = await texts('#grid .row .from');
    return rows.length === 1 && rows[0] === 'default/stranger';
  });
});

test('in the dark, and 375 pixels wide, a mark is there and nothing lies beside the page', async () => {
  await browser.colours('dark');
  await browser.size(375, 740);
  await until('the row', async () => (await texts('#grid .row.staged')).length === 1);
  await picture('staged-narrow');
  await click('#tab-policies');
  await until('both tables', async () => (await texts('#policies table')).length === 2);
  assert.equal(await browser.evaluate('document.documentElement.scrollWidth'), 375);
  await picture('staged-policies-narrow');
  assert.deepEqual(browser.complaints(), []);
});
