/** The chart and the kustomization mean what `tollgate install --kubernetes` prints for the same choices. */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite, test } from 'node:test';
import { parse, parseAllDocuments } from 'yaml';
import { tollgate, tollgateDir } from '../support/cni.ts';
import { released, version } from '../support/release.ts';
import { scratchFolder } from '../support/scratch.ts';

const [helm, kustomize] = ['helm', 'kustomize'].map(name => join(tollgateDir, 'tools', name)) as [string, string];
// Made where Go is there.
const skip = process.env['CI'] !== 'true' && !existsSync(helm) && `${helm} is not there`;

const folder = scratchFolder('chart');
const archive = released(`tollgate-${version}.tgz`);
// helm keeps what it knows of repositories: here nothing.
const env = { PATH: process.env['PATH'], HOME: folder };

type KubeObject = { readonly kind: string; readonly metadata: { readonly name: string } };

/** Sorted, since helm prints objects in the order in which it would make them. */
const objectsOf = (text: string): readonly KubeObject[] =>
  parseAllDocuments(text)
    .map(document => document.toJS() as KubeObject | null)
    .filter(object => object !== null)
    .sort((a, b) => (`${a.kind}/${a.metadata.name}` < `${b.kind}/${b.metadata.name}` ? -1 : 1));

const installed = (...args: readonly string[]) =>
  objectsOf(execFileSync(tollgate, ['install', '--kubernetes', ...args], { encoding: 'utf8' }));

type Values = Readonly<Record<string, unknown>>;

function template(values: Values) {
  const file = join(folder, 'values.json');
  writeFileSync(file, JSON.stringify(values));
  return spawnSync(helm, ['template', 'tollgate', archive, '--values', file], { encoding: 'utf8', env });
}

interface Choice {
  readonly values: Values;
  readonly args: readonly string[];
}

const single: readonly Choice[] = [
  { values: {}, args: [] },
  {
    values: { image: 'registry.example:5000/net/tollgate@sha256:00ff' },
    args: ['--image', 'registry.example:5000/net/tollgate@sha256:00ff'],
  },
  { values: { apiServer: '192.0.2.10:6443' }, args: ['--api-server', '192.0.2.10:6443'] },
  { values: { apiServer: '[2001:db8::10]:6443' }, args: ['--api-server', '[2001:db8::10]:6443'] },
  { values: { binDir: '/usr/libexec/cni' }, args: ['--bin-dir', '/usr/libexec/cni'] },
  { values: { confDir: '/srv/net.d' }, args: ['--conf-dir', '/srv/net.d'] },
  { values: { runDir: '/run/other' }, args: ['--run-dir', '/run/other'] },
  { values: { stateDir: '/srv/tollgate' }, args: ['--state-dir', '/srv/tollgate'] },
  { values: { mtu: 1400 }, args: ['--mtu', '1400'] },
  { values: { ipMasq: false }, args: ['--no-ip-masq'] },
  { values: { takeOver: true }, args: ['--take-over'] },
  { values: { flows: true }, args: ['--flows'] },
  { values: { flows: true, flowAccounting: true }, args: ['--flows', '--flow-accounting'] },
  { values: { flows: true, ui: '127.0.0.1:9468' }, args: ['--flows', '--ui', '127.0.0.1:9468'] },
  { values: { flows: true, ui: '[::1]:9468' }, args: ['--flows', '--ui', '[::1]:9468'] },
  { values: { withCrds: true }, args: ['--with-crds'] },
  { values: { withCrds: true, cel: false }, args: ['--with-crds', '--no-cel'] },
];
const together: Choice = {
  values: Object.assign({}, ...single.map(({ values }) => values)) as Values,
  args: single
    .filter(({ values }) => values['apiServer'] !== '192.0.2.10:6443' && values['ui'] !== '127.0.0.1:9468')
    .flatMap(({ args }) => args),
};

suite('the chart', { skip }, () => {
  for (const { values, args } of [...single, together])
    test(`with ${JSON.stringify(values)} is what install prints with ${args.join(' ') || 'no options'}`, () => {
      const { stdout, stderr, status } = template(values);
      assert.equal(status, 0, stderr);
      assert.deepEqual(objectsOf(stdout), installed(...args));
    });

  test('is fine by helm lint, strictly', () => {
    execFileSync(helm, ['lint', '--strict', archive], { env, stdio: 'pipe' });
  });

  const refused: readonly (readonly [Values, RegExp])[] = [
    [{ imge: 'x' }, /imge/],
    [{ stateDir: 'state' }, /stateDir/],
    [{ runDir: '/run/a"b' }, /runDir/],
    [{ apiServer: '192.0.2.10' }, /apiServer/],
    [{ mtu: '1400' }, /mtu/],
    [{ ipMasq: 'no' }, /ipMasq/],
    [{ flows: true, ui: 'localhost:9468' }, /ui/],
    [{ ui: '127.0.0.1:9468' }, /ui/],
    // Of helm, null takes the default away.
    [{ ipMasq: null }, /missing property 'ipMasq'/],
    [{ stateDir: null }, /missing property 'stateDir'/],
    [{ apiServer: 'api.example:0' }, /apiServer/],
    [{ apiServer: 'api.example:65536' }, /apiServer/],
    [{ flows: true, ui: '127.0.0.1.1:9468' }, /ui/],
    [{ flows: true, ui: '127.0.0.1:99999' }, /ui/],
  ];
  for (const [values, named] of refused)
    test(`refuses ${JSON.stringify(values)}, and names it`, () => {
      const { stderr, status } = template(values);
      assert.notEqual(status, 0);
      assert.match(stderr, named);
    });

  test('documents each value, where it stands and in the schema', () => {
    const inChart = (path: string) => execFileSync('tar', ['-xzOf', archive, `tollgate/${path}`], { encoding: 'utf8' });
    const text = inChart('values.yaml');
    const { properties } = JSON.parse(inChart('values.schema.json')) as {
      properties: Record<string, { description?: string }>;
    };
    const names = Object.keys(parse(text) as object);
    assert.deepEqual([...names, 'global'], Object.keys(properties));
    for (const name of names) {
      assert.ok(properties[name]!.description, name);
      // A paragraph of comment, then the values that it is about.
      const paragraph = text.split('\n\n').find(lines => new RegExp(`^${name}:`, 'm').test(lines))!;
      assert.match(paragraph, /^# /, name);
    }
  });
});

suite('the kustomization', { skip }, () => {
  const base = join(folder, 'base');
  mkdirSync(base);
  execFileSync('tar', ['-xzf', released(`tollgate-${version}-kustomize.tar.gz`), '--strip-components=1', '-C', base]);

  /** An overlay as kustomization.yaml says how to write one. */
  function built(overlay: object | undefined): readonly KubeObject[] {
    if (overlay === undefined) return objectsOf(execFileSync(kustomize, ['build', base], { encoding: 'utf8', env }));
    const place = mkdtempSync(join(folder, 'overlay-'));
    writeFileSync(join(place, 'kustomization.yaml'), JSON.stringify({ resources: ['../base'], ...overlay }));
    return objectsOf(execFileSync(kustomize, ['build', place], { encoding: 'utf8', env }));
  }

  test('is what install prints', () => assert.deepEqual(built(undefined), installed()));

  test('names another image and the API server as install does', () => {
    const overlay = {
      images: [{ name: 'docker.io/library/tollgate', newName: 'registry.example/tollgate', newTag: '9' }],
      configMapGenerator: [
        {
          name: 'tollgate-api-server',
          namespace: 'kube-system',
          literals: ['TOLLGATE_API_SERVER=https://192.0.2.10:6443'],
        },
      ],
      generatorOptions: { disableNameSuffixHash: true },
    };
    assert.deepEqual(
      built(overlay),
      installed('--image', 'registry.example/tollgate:9', '--api-server', '192.0.2.10:6443'),
    );
  });

  test('records flows as install says it, by the patch that it names', () => {
    const text = readFileSync(join(base, 'kustomization.yaml'), 'utf8');
    const named = /^# {3}patches:\n(?:# {5}.*\n)+/m.exec(text)![0].replace(/^# {3}/gm, '');
    assert.deepEqual(built(parse(named) as object), installed('--flows'));
  });
});

for (const [args, said] of [
  [['--ui', '127.0.0.1:9468'], /--ui want --flows/],
  [['--flow-accounting'], /want --flows/],
  [['--flows', '--ui', '9468'], /Cannot show flows on 9468/],
  [
    ['--flows', '--ui', '0.0.0.0:9467'],
    /Cannot show flows on 0\.0\.0\.0:9467: metrics and health are on 127\.0\.0\.1:9467/,
  ],
  [['--image', 'registry.example/a b'], /Cannot run "registry\.example\/a b"/],
  [['--force'], /Cannot print manifests with --force/],
  [['--drop-ins'], /Cannot print manifests with --drop-ins/],
  [['--no-conflist'], /Cannot print manifests with --no-conflist/],
  [['-o', 'json'], /Cannot print manifests with --output json/],
] as const)
  test(`install refuses ${args.join(' ')}`, () => {
    const { status, stderr } = spawnSync(tollgate, ['install', '--kubernetes', ...args], { encoding: 'utf8' });
    assert.equal(status, 2);
    assert.match(stderr, said);
  });

test('the manifest is what install prints', () => {
  assert.deepEqual(objectsOf(readFileSync(released(`tollgate-${version}.yaml`), 'utf8')), installed());
});
