/** The dashboard asks for metrics that there are, by labels that they have. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { metricsOf } from '../../../lib/controller/agent-metrics.ts';
import { flowMetrics } from '../../../lib/controller/flow-metrics.ts';
import { formatMetrics, Histogram } from '../../../lib/controller/prometheus.ts';
import { FlowJournal } from '../../../lib/flows/journal.ts';
import { attributionOf, bytes, client, connection, policies, sceneOf, web } from '../../support/flow-world.ts';

interface Panel {
  readonly title: string;
  readonly targets: readonly { readonly expr: string; readonly legendFormat: string }[];
}

const file = new URL('../../../conf/grafana-dashboard.json', import.meta.url);
const { panels } = JSON.parse(readFileSync(file, 'utf8')) as { readonly panels: readonly Panel[] };

/** Everything that an agent tells Prometheus, with a sample at least of each. */
function told(): string {
  const [delays, syncs] = [new Histogram(), new Histogram()];
  for (const histogram of [delays, syncs]) histogram.observe(0.1);
  const policy = 'NetworkPolicy/shop/web';
  const agent = metricsOf({
    ...{
      release: '0',
      isServing: true,
      pods: 1,
      identities: 1,
      refused: 0,
      delays,
      syncs,
      failures: 0,
      cuts: 0,
      memory: 1,
    },
    watches: [
      {
        resource: 'pods',
        isComplete: true,
        isUp: true,
        objects: 1,
        losses: 0,
        age: 1,
        isOverdue: false,
        isStuck: false,
      },
    ],
    mended: { table: 0, links: 0, routes: 0, forwarding: 0 },
    dropped: [{ labels: { direction: 'ingress', policy }, value: 1 }],
  });
  const tried = policies
    .replace('name: web', 'name: tried, annotations: { tollgate.dev/staged: "true" }')
    .replace('{ app: web }', '{ app: client }')
    .replace('ingress:', 'policyTypes: [Egress]\n  ingress:');
  const attribution = attributionOf({ now: sceneOf([web, client], `${policies}---${tried}`) });
  const journal = new FlowJournal(attribution, 1 << 20);
  journal.opened(connection('10.0.0.3', '10.0.0.2'), 1);
  const ends = { from: bytes('10.0.0.4'), to: bytes('10.0.0.2') };
  journal.denied({ ...ends, time: 1, direction: 'ingress', protocol: 6, sourcePort: 1, port: 80, by: [policy] });
  return formatMetrics([...agent, ...flowMetrics({ journal, attribution })]);
}

const lines = told().split('\n');

for (const { title, targets } of panels)
  test(`the panel "${title}" shows what there is`, () => {
    assert.ok(targets.length > 0);
    for (const { expr, legendFormat } of targets) {
      const [name] = /tollgate_\w+/.exec(expr) ?? assert.fail(expr);
      const samples = lines.filter(line => line.startsWith(`${name}{`) || line.startsWith(`${name} `));
      assert.ok(samples.length > 0, `there is no ${name}`);
      const labels = [...expr.matchAll(/by \(([^)]*)\)/g)].flatMap(([, list]) => list!.split(', '));
      const shown = [...legendFormat.matchAll(/\{\{(\w+)\}\}/g)].map(([, label]) => label!);
      for (const label of [...labels, ...shown])
        assert.ok(samples[0]!.includes(`${label}="`), `${name} has no ${label}`);
      for (const label of shown) assert.ok(labels.includes(label), `${label} is summed away in ${expr}`);
    }
  });
