/** Staged policies on the page of flows, against an agent that records, in a browser. */
import assert from 'node:assert/strict';
import test, { after, before } from 'node:test';
import type { Agent } from '../support/agent-process.ts';
import type { Json } from '../support/cni.ts';
import { FlowPage, servePage } from '../support/flow-page.ts';
import { onlyFrom, type PluggedPod, PolicyHost, pods, policy } from '../support/policy-host.ts';
import { until } from '../support/until.ts';

let host: PolicyHost;
let agent: Agent;
let web: PluggedPod;
let client: PluggedPod;
let stranger: PluggedPod;
let page: FlowPage;

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
  const served = await servePage(host);
  agent = served.agent;
  for (const source of [client, stranger])
    host.arrives(source.end, host.packet(source.addresses[4], web.addresses[4]), web.end);
  page = await FlowPage.open(host, served.link);
});
after(async () => {
  await page?.[Symbol.asyncDispose]();
  for (const each of [web, client, stranger, agent, host]) each?.[Symbol.dispose]();
});

test('rows are marked whose flow would fare otherwise, and say by which staged policy', async () => {
  const marked = await until('both', async () => {
    const found = await page.texts('#grid .row.staged .would');
    return found.length === 2 ? found : undefined;
  });
  assert.deepEqual(marked, [
    'would be allowed by default/strangers (staged); default/web',
    'would be denied by default/no-egress (staged); default/web',
  ]);
  await page.picture('staged-rows');
});

test('a row opens to the verdict that would be, its reason, the rule, and the text of the staged policy', async () => {
  await page.click('#grid .row.staged.denied');
  await until('the text', async () => (await page.text('#detail')).includes('Staged: NetworkPolicy/default/strangers'));
  assert.match(
    await page.text('#detail dd.would'),
    /^allowed: NetworkPolicy\/default\/strangers ingress\[0] allows UDP 80 from default\/stranger$/,
  );
  const why = await page.text('#detail');
  assert.match(why, /tollgate.dev\/staged: "true"/);
  assert.match(why, /NetworkPolicy\/default\/web isolates default\/web for ingress/, 'beside what is so');
  await page.picture('staged-reason');
  await page.browser.press('Escape');
});

test('the policies are told with their hits and unused rules, and the staged ones with what they would change', async () => {
  await page.focus('grid');
  await page.click('#tab-policies');
  await until('both tables', async () => (await page.texts('#policies table')).length === 2);
  const rowsOf = (at: number): Promise<readonly string[]> =>
    page.browser.evaluate(
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
  await page.picture('staged-policies');
});

test('from a policy one comes to its flows', async () => {
  const [, second] = await page.texts('#policies table:nth-of-type(2) .policy');
  assert.equal(second, 'NetworkPolicy/default/strangers');
  await page.browser.evaluate(
    `[...document.querySelectorAll('#policies .policy')].find(each => each.innerText.endsWith('strangers')).click()`,
  );
  assert.equal(await page.browser.evaluate('document.getElementById("filter").value'), 'staged:default/strangers');
  await until('that flow alone', async () => {
    const rows = await page.texts('#grid .row .from');
    return rows.length === 1 && rows[0] === 'default/stranger';
  });
});

test('in the dark, and 375 pixels wide, a mark is there and nothing lies beside the page', async () => {
  await page.browser.colours('dark');
  await page.browser.size(375, 740);
  await until('the row', async () => (await page.texts('#grid .row.staged')).length === 1);
  await page.picture('staged-narrow');
  await page.click('#tab-policies');
  await until('both tables', async () => (await page.texts('#policies table')).length === 2);
  assert.equal(await page.browser.evaluate('document.documentElement.scrollWidth'), 375);
  await page.picture('staged-policies-narrow');
  assert.deepEqual(page.browser.complaints(), []);
});
