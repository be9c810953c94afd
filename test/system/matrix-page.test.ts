/** The matrix as a page: its data hold what the rows say, and a browser without a network shows it. */
import assert from 'node:assert/strict';
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test, { after, suite } from 'node:test';
import fc from 'fast-check';
import { buildPage } from '../../.build/page.ts';
import { withData } from '../../lib/cli/page.ts';
import { type MatrixRow, matrix, type RowVerdict } from '../../lib/policy/evaluate/matrix.ts';
import { type PackedMatrix, packMatrix } from '../../lib/policy/evaluate/matrix-packed.ts';
import { StagedMatrix } from '../../lib/policy/evaluate/matrix-staged.ts';
import { Browser } from '../support/browser.ts';
import { scratchFolder } from '../support/scratch.ts';
import { until } from '../support/until.ts';
import { type Manifest, manifests, traffic, worldFrom } from '../support/worlds.ts';

const template = await buildPage('lib/cli/policy/matrix-page');
const matrixPage = (data: PackedMatrix): string => withData(template, data);

/** The rows that the page's data stand for. */
function rowsOf({ pods, families, verdicts, directions, port, protocol }: PackedMatrix): readonly MatrixRow[] {
  const count = pods.length;
  return families.flatMap(({ family, cells, staged }) =>
    cells.flatMap((verdict, i) => {
      if (verdict < 0) return [];
      const [from, to] = [pods[Math.floor(i / count)]!.name, pods[i % count]!.name];
      const verdictAt = (place: number): RowVerdict => {
        const [egress, ingress] = verdicts[place]!.map(at => {
          const direction = directions[at]!;
          return { ...direction, why: direction.why.replaceAll('\u0001', from).replaceAll('\u0002', to) };
        }) as [RowVerdict['egress'], RowVerdict['ingress']];
        return { allowed: egress.allowed && ingress.allowed, egress, ingress };
      };
      const row = { from, to, family, protocol, port, ...verdictAt(verdict) } as MatrixRow;
      return [staged ? { ...row, staged: verdictAt(staged[i]!) } : row];
    }),
  );
}

const inOrder = (rows: readonly MatrixRow[]) => rows.map(row => JSON.stringify(row)).sort();

test('the data of the page are the rows of the matrix, sentence by sentence', () => {
  fc.assert(
    fc.property(manifests({ clusterPolicies: 3, isStaged: true }), fc.constantFrom(...traffic), (list, what) => {
      const world = worldFrom(list);
      const rows = [...matrix(world, what)];
      assert.deepEqual(inOrder(rowsOf(packMatrix(new StagedMatrix(world, what)))), inOrder(rows));
    }),
    { numRuns: 200 },
  );
});

test('a name cannot end the page’s data', () => {
  const world = worldFrom([]);
  const hostile = {
    ...world,
    pods: [
      {
        namespace: 'a',
        name: '</script><script>alert(1)//',
        labels: new Map(),
        addresses: [],
        namedPorts: [],
        hostNetwork: false,
        finished: false,
      },
    ],
  };
  const both = { ...hostile, pods: [...hostile.pods, { ...hostile.pods[0]!, name: '<b>' }] };
  const page = matrixPage(packMatrix(new StagedMatrix(both, traffic[0]!)));
  assert.equal(page.match(/<\/script>/g)!.length, 2);
  assert.ok(!page.includes('alert(1)<'));
});

/** 200 pods of ten kinds; `db` may be reached from `api` alone, and by IPv4 from the first few addresses. */
function bigWorld(): readonly Manifest[] {
  const apps = ['web', 'api', 'db', 'cache', 'queue', 'mail', 'auth', 'log', 'cron', 'admin'];
  const pods = apps.flatMap((app, a) =>
    Array.from({ length: 20 }, (_, i) => ({
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { namespace: 'shop', name: `${app}-${i}`, labels: { app } },
      status: { podIPs: [{ ip: `10.0.${a}.${i + 1}` }, { ip: `fd00::${a}:${i + 1}` }] },
    })),
  );
  const policy = {
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    metadata: { namespace: 'shop', name: 'db' },
    spec: {
      podSelector: { matchLabels: { app: 'db' } },
      ingress: [{ from: [{ podSelector: { matchLabels: { app: 'api' } } }, { ipBlock: { cidr: '10.0.0.0/30' } }] }],
    },
  };
  return [...pods, policy];
}

suite('in a browser without a network', async () => {
  const folder = scratchFolder('page');
  const file = join(folder, 'matrix.html');
  const world = worldFrom(bigWorld());
  const http = { protocol: 'TCP', port: 80 } as const;
  writeFileSync(file, matrixPage(packMatrix(new StagedMatrix(world, http))));
  const browser = await Browser.start();
  after(async () => {
    await browser[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true });
  });
  const value = <T = string>(expression: string) => browser.evaluate<T>(expression);
  const text = (id: string) => value(`document.getElementById('${id}').textContent`);
  const active = () =>
    value(
      `document.getElementById(document.getElementById('grid').getAttribute('aria-activedescendant')).getAttribute('aria-label')`,
    );
  /** As it is first seen, with the grid in focus. */
  const fresh = async () => {
    await browser.open(`file://${file}`);
    await value(`document.getElementById('grid').focus()`);
  };
  const press = async (...chords: string[]) => {
    for (const chord of chords) await browser.press(chord);
  };
  await browser.size(1360, 860);

  test('it opens from a file, complains of nothing and asks for nothing else', async () => {
    await fresh();
    assert.match(await text('count'), /^200 × 200 pods: 36280 pairs allowed, 3520 denied$/);
    await press('n', 'ArrowDown', 'End', '/', 'd', 'b', 'Escape', 'n', 's');
    assert.deepEqual(browser.complaints(), []);
    const requests = browser.events('Network.requestWillBeSent').map(({ request }) => (request as { url: string }).url);
    assert.deepEqual([...new Set(requests)], [`file://${file}`]);
  });

  test('the keyboard goes everywhere, and the chosen cell says why', async () => {
    await fresh();
    assert.equal(await active(), 'shop/web-0 to shop/web-0: itself. ');
    await press('ArrowRight', 'ArrowRight', 'ArrowDown');
    assert.equal(await active(), 'shop/web-1 to shop/web-2: allowed. No policy isolates shop/web-2 for ingress');
    await press('ArrowLeft', 'ArrowUp');
    assert.match(await active(), /^shop\/web-0 to shop\/web-1:/);
    await press('Control+End');
    assert.match(await active(), /^shop\/admin-19 to shop\/admin-19: itself/);
    await press('Home');
    assert.match(await active(), /^shop\/admin-19 to shop\/web-0:/);
    await press('PageUp');
    assert.match(await active(), /^shop\/(cron|admin)-\d+ to shop\/web-0:/);
    await press('Control+Home', 'n');
    const why = 'NetworkPolicy/shop/db isolates shop/db-0 for ingress, and no rule allows TCP 80 from shop/web-3';
    assert.equal(await active(), `shop/web-3 to shop/db-0: denied. ${why}`);
    assert.ok((await text('detail')).includes(why));
    await press('s');
    assert.match(await active(), /^shop\/db-0 to shop\/web-3: allowed/);
    await press('s', 'p');
    assert.match(await active(), /^shop\/admin-19 to shop\/db-19: denied/);
  });

  test('one family alone is told as such', async () => {
    await fresh();
    await press(...Array.from({ length: 40 }, () => 'ArrowRight'));
    assert.match(
      await active(),
      /^shop\/web-0 to shop\/db-0: allowed over IPv4 only\. NetworkPolicy\/shop\/db isolates/,
    );
    assert.match(
      await text('detail'),
      /IPv4: allowed.*NetworkPolicy\/shop\/db ingress\[0\] allows TCP 80 from shop\/web-0.*IPv6: denied/s,
    );
  });

  test('search narrows both sides by name, label and address', async () => {
    await fresh();
    await press('/');
    await browser.type('app=api');
    assert.match(await text('count'), /^20 × 200 pods/);
    await value(`document.getElementById('to').focus()`);
    await browser.type('db-1');
    assert.match(await text('count'), /^20 × 11 pods: 220 pairs allowed, 0 denied$/);
    await press('Enter');
    assert.equal(await value('document.activeElement.id'), 'grid');
    await press('Control+End');
    assert.match(await active(), /^shop\/api-19 to shop\/db-19: allowed/);
    await press('/');
    assert.equal(await value('document.activeElement.id'), 'from');
    await browser.type('10.0.5.');
    assert.match(await text('count'), /^20 × 11 pods: 0 pairs allowed, 220 denied$/);
    await browser.type('nobody');
    assert.equal(await text('count'), 'No pod matches.');
    assert.deepEqual(browser.complaints(), []);
  });

  test('only rows and columns with denials, if asked for', async () => {
    await fresh();
    await value(
      `(() => { const show = document.getElementById('show'); show.value = 'denied'; show.dispatchEvent(new Event('change', { bubbles: true })); })()`,
    );
    assert.match(await text('count'), /^180 × 20 pods/);
  });

  test('a click chooses, on the grid and on the small map', async () => {
    await fresh();
    const at = (query: string) =>
      value<{ x: number; y: number }>(
        `(() => { const { x, y } = document.querySelector('${query}').getBoundingClientRect(); return { x, y }; })()`,
      );
    const cell = await at('#cell-4-7');
    await browser.click(cell.x + 5, cell.y + 5);
    assert.match(await active(), /^shop\/web-4 to shop\/web-7: allowed/);
    const map = await at('#map');
    await browser.click(map.x + 179, map.y + 90);
    assert.match(
      await active(),
      /^shop\/mail-0 to shop\/admin-19|^shop\/queue-19 to shop\/admin-1\d|^shop\/(queue|mail)-\d+ to shop\/admin-1\d/,
    );
  });

  test('a screen reader finds a grid with its rows, its size and one chosen cell', async () => {
    await fresh();
    await press('ArrowDown');
    const roles = await value<Record<string, number>>(
      `Object.fromEntries(['row', 'columnheader', 'rowheader', 'gridcell'].map(role => [role, document.querySelectorAll('[role=' + role + ']').length]))`,
    );
    for (const [role, count] of Object.entries(roles)) assert.ok(count > 5, `${role}: ${count}`);
    assert.equal(await value(`document.getElementById('grid').getAttribute('aria-rowcount')`), '201');
    assert.equal(await value<number>(`document.querySelectorAll('[aria-selected=true]').length`), 1);
    const { nodes } = (await browser.send('Accessibility.getFullAXTree')) as {
      nodes: { role?: { value: string }; name?: { value: string } }[];
    };
    const grid = nodes.find(({ role }) => role?.value === 'grid');
    assert.equal(grid?.name?.value, 'Rows open connections to columns');
    const named = nodes.filter(
      ({ role, name }) => ['searchbox', 'combobox', 'button'].includes(role?.value ?? '') && name?.value,
    );
    assert.equal(named.length, 4, 'two searches, a choice and a button have names');
  });

  test('40,000 cells do not weigh on it: few are drawn, and a step draws few anew', async () => {
    await fresh();
    assert.ok((await value<number>(`document.querySelectorAll('*').length`)) < 4000);
    const drawn = await value<number>(`(() => {
      let drawn = 0;
      const observer = new MutationObserver(() => {});
      observer.observe(document.getElementById('space'), { childList: true, subtree: true });
      for (let i = 0; i < 199; i++) for (const key of ['ArrowDown', 'ArrowRight'])
        document.getElementById('grid').dispatchEvent(new KeyboardEvent('keydown', { key }));
      const cellsIn = node => (node.matches?.('.cell') ? 1 : 0) + (node.querySelectorAll?.('.cell').length ?? 0);
      for (const { addedNodes } of observer.takeRecords()) for (const node of addedNodes) drawn += cellsIn(node);
      return drawn;
    })()`);
    // A screen has some 1,000 cells, and it is drawn anew where a step leads out of it.
    assert.ok(drawn > 0 && drawn < 199 * 2000, `${drawn} cells in 199 steps along the diagonal`);
    assert.match(await active(), /^shop\/admin-19 to shop\/admin-19/);
  });

  test('the small map is painted in the colours of its page, which it takes over as they change', async () => {
    /** Colours of the map's dots, without those of the frame's blurred edge; red, green, blue. */
    const strongest = () =>
      value<readonly number[]>(`(() => {
        const copy = new OffscreenCanvas(180, 180).getContext('2d', { willReadFrequently: true });
        copy.drawImage(document.getElementById('map'), 0, 0);
        const { data } = copy.getImageData(0, 0, 180, 180);
        const counts = new Map();
        for (let i = 0; i < data.length; i += 4)
          if (data[i + 3] > 0) { const key = [...data.slice(i, i + 3)].join(); counts.set(key, (counts.get(key) ?? 0) + 1); }
        return [...counts].sort(([, a], [, b]) => b - a)[0][0].split(',').map(Number);
      })()`);
    const isNear = (colour: readonly number[], wanted: readonly number[]): boolean =>
      colour.every((part, i) => Math.abs(part - wanted[i]!) < 4);
    await fresh();
    const light = [
      [35, 122, 89],
      [179, 56, 44],
      [138, 97, 0],
    ];
    const dark = [
      [99, 208, 164],
      [255, 140, 125],
      [240, 193, 90],
    ];
    for (const [scheme, wanted] of [
      ['light', light],
      ['dark', dark],
    ] as const) {
      await browser.colours(scheme);
      await until(`the map in ${scheme} colours`, async () => {
        const colour = await strongest();
        return wanted.some(each => isNear(colour, each));
      });
    }
    await browser.colours('light');
  });

  test('light and dark by the system, and by the button', async () => {
    const ground = () => value('getComputedStyle(document.body).backgroundColor');
    await browser.colours('light');
    await fresh();
    const light = await ground();
    await browser.colours('dark');
    const dark = await ground();
    assert.notEqual(dark, light);
    const toggle = async () => {
      await value(`document.getElementById('theme').click()`);
      return await ground();
    };
    assert.deepEqual([await toggle(), await toggle(), await toggle()], [light, dark, dark]);
    assert.deepEqual(browser.complaints(), []);
  });
});
