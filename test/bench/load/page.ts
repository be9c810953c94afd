/** What the page of flows costs a browser while flows come: processor time, and how often it keeps a person from scrolling. */
import { setTimeout as delay } from 'node:timers/promises';
import { NetlinkSocket } from '../../../lib/kernel/netlink.ts';
import { FlowPage, servePage } from '../../support/flow-page.ts';
import { deleteFlows, listFlows } from '../../support/listed-flows.ts';
import { PolicyHost } from '../../support/policy-host.ts';
import { manyFlows, type OpenedFlow, openFlows } from '../../support/tracked-flows.ts';
import { until } from '../../support/until.ts';
import type { LoadGroup } from '../load-report.ts';

/** Rows of the page, and flows a second that then come and end, for so many seconds. */
const ROWS = 10_000;
const RATE = 450;
const SECONDS = 15;
/** Milliseconds between two lots of flows, as a busy node has them. */
const LOT = 50;

/** The standard's measure of what a person notices: a task of more than 50 ms. */
const observe = `window.held = [];
  new PerformanceObserver(list => held.push(...list.getEntries().map(each => each.duration))).observe({ type: 'longtask' })`;

/** Of the processor: by the page's script, and by all that shows what it made. */
async function spentBy({ browser }: FlowPage): Promise<{ readonly script: number; readonly whole: number }> {
  const { metrics } = (await browser.send('Performance.getMetrics')) as { metrics: { name: string; value: number }[] };
  const script = metrics.find(({ name }) => name === 'ScriptDuration')!.value;
  return { script, whole: await browser.processorSeconds() };
}

export const group: LoadGroup = async say => {
  using host = await PolicyHost.start();
  using web = await host.plug('web');
  using client = await host.plug('client');
  using socket = host.inside(() => NetlinkSocket.open('netfilter'));
  const { agent, link } = await servePage(host, '--flow-accounting');
  using _ = agent;
  const [from, to] = [client.addresses[4], web.addresses[4]];
  openFlows(socket.exchange, manyFlows(from, to, ROWS + 2_000));
  deleteFlows(socket.exchange, listFlows(socket.exchange, 4));
  await using page = await FlowPage.open(host, link);
  await until('all rows', async () => (await page.rows()) === ROWS);
  say(`${RATE} flows a second`);
  await page.browser.evaluate(observe);
  await page.browser.send('Performance.enable', { timeDomain: 'threadTicks' });
  const before = await spentBy(page);
  const start = performance.now();
  let opened = 0;
  while (performance.now() - start < SECONDS * 1000) {
    const due = Math.floor(((performance.now() - start) * RATE) / 1000) - opened;
    const flows = Array.from({ length: due }, (_, i): OpenedFlow => ({ from, to, sport: 1 + opened + i, dport: 80 }));
    openFlows(socket.exchange, flows);
    deleteFlows(socket.exchange, listFlows(socket.exchange, 4));
    opened += due;
    await delay(LOT);
  }
  await delay(1_000);
  const after = await spentBy(page);
  const tasks = await page.browser.evaluate<readonly number[]>('held');
  const thousands = opened / 1000;
  const when = `with ${ROWS} rows, at ${RATE} flows a second`;
  const longest = Math.max(0, ...tasks).toFixed(0);
  return [
    {
      ...{ what: `processor time of the page’s script for 1,000 flows, ${when}`, unit: 'ms', asked: { atMost: 40 } },
      ...{ figure: ((after.script - before.script) * 1000) / thousands, before: 53 },
    },
    {
      ...{ what: 'the same, with layout and painting of rows that are all new', unit: 'ms', asked: { atMost: 300 } },
      ...{ figure: ((after.whole - before.whole) * 1000) / thousands, before: 285 },
    },
    {
      ...{ what: `tasks of more than 50 ms in ${SECONDS} s (the longest: ${longest} ms)`, unit: 'tasks' },
      ...{ figure: tasks.length, asked: { atMost: 0 } },
    },
  ];
};
