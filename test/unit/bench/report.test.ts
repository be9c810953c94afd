/** The benchmark's report: what is said of measurements, and that the README says no other. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { engineLabel, enginePanels, engineTable } from '../../bench/engines/panels.ts';
import { formatLoad, formatLoadMarkdown } from '../../bench/load-report.ts';
import { picture, themes } from '../../bench/picture.ts';
import { pluginLabel, pluginPanels } from '../../bench/plugin-panels.ts';
import { compared, formatMarkdown, formatReport, quantile, type Report, single } from '../../bench/report.ts';

const text = (path: string): string => readFileSync(new URL(path, import.meta.url), 'utf8');
const measured = JSON.parse(text('../../bench/measured.json')) as Report;
const engines = JSON.parse(text('../../bench/engines.json')) as Report;

test('quartiles lie between the two nearest measurements', () => {
  const table: [number[], number, number][] = [
    [[3, 1, 2], 0.5, 2],
    [[4, 1, 3, 2], 0.5, 2.5],
    [[1, 2, 3, 4, 5], 0.25, 2],
    [[7], 0.75, 7],
  ];
  for (const [values, q, expected] of table) assert.equal(quantile(values, q), expected);
});

test('a ratio is that of the medians, its spread that of the pairs; a target is reached, or it says NO', () => {
  const what = { part: 'p', what: 'ADD', unit: 'ms' } as const;
  const row = compared(what, [1, 2, 3], 'ptp', [4, 4, 2], { atMost: 0.4 });
  assert.deepEqual([row.value, row.reference, row.ratio, row.spread], [2, 4, 0.5, [0.375, 1]]);
  assert.equal(row.reached, false);
  assert.equal(compared(what, [1], 'ptp', [2], { atMost: 0.5 }).reached, true);
  assert.equal(single(what, [9, 8, 7], { atMost: 8 }).reached, true);
  const lines = formatReport({ ...measured, rows: [row] }).split('\n');
  assert.ok(
    lines.some(line => /^ADD +2\.00 ms +ptp: 4\.00 +0\.50 +0\.38–1\.00 +≤ 0\.4 +NO$/.test(line)),
    lines.join('\n'),
  );
});

test('the page of the benchmark has the table, and the README the pictures, that were made of what was measured', () => {
  const page = text('../../bench/README.md');
  for (const table of [formatMarkdown(measured), engineTable(engines.rows)])
    assert.ok(page.includes(table.trimEnd()), 'the table is another one');
  const readme = text('../../../README.md');
  for (const theme of themes) {
    assert.equal(
      text(`../../bench/measured-${theme}.svg`),
      picture(pluginPanels(measured.rows), measured, pluginLabel, theme),
    );
    assert.equal(
      text(`../../bench/engines-${theme}.svg`),
      picture(enginePanels(engines.rows), engines, engineLabel, theme),
    );
    for (const name of ['measured', 'engines']) assert.ok(readme.includes(`test/bench/${name}-${theme}.svg`));
  }
});

test('a row of load says what was asked, what it was before, and whether it is reached', () => {
  const row = { what: 'ADD of a stranger', asked: { atMost: 1.2 }, figure: 1.3, unit: '× without', before: 104 };
  const least = { what: 'calls', asked: { atLeast: 5 }, figure: 5, unit: 'calls' };
  assert.deepEqual(
    formatLoad([{ group: 'policies', rows: [row, least] }])
      .split('\n')
      .slice(2, 5),
    [
      '# policies',
      'ADD of a stranger  ≤ 1.2 × without  1.30 × without  104     NO',
      'calls              ≥ 5 calls        5 calls                 yes',
    ],
  );
  assert.match(
    formatLoadMarkdown([{ group: 'policies', rows: [least] }]),
    /^\| calls \| ≥ 5 calls \| 5 calls \| {2}\| yes \|$/m,
  );
});
