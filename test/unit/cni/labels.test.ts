import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseArgs } from '../../../lib/cni/args.ts';
import { parseConfig } from '../../../lib/cni/config.ts';
import { CniError } from '../../../lib/cni/error.ts';
import { givenLabels, podNameOf } from '../../../lib/cni/labels.ts';
import { labelled } from '../../../lib/gate/node-state.ts';

interface Said {
  readonly config?: Record<string, string>;
  readonly manifest?: Record<string, string>;
  readonly annotation?: string;
  readonly args?: readonly object[];
  readonly runtime?: Record<string, string>;
}

function labels({ config, manifest, annotation, args, runtime }: Said): Record<string, string> {
  const annotations = { 'tollgate.dev/labels': annotation };
  const stdin = {
    name: 'net',
    labels: config,
    args: { cni: { labels: args } },
    runtimeConfig: { labels: runtime, 'io.kubernetes.cri.pod-annotations': annotations },
  };
  const given = givenLabels(parseConfig(JSON.stringify(stdin), 'ADD'));
  const pod = { given: { config: Object.fromEntries(given.config), call: Object.fromEntries(given.call) } };
  return labelled(pod, {
    ...{ namespace: 'shop', name: 'web', namedPorts: [] },
    labels: new Map(Object.entries(manifest ?? {})),
  }).labels;
}

/** From the weakest source to the strongest: each row's label stands until the next row says otherwise. */
const sources: readonly Said[] = [
  { config: { who: 'config', config: 'x' } },
  { manifest: { who: 'manifest', manifest: 'x' } },
  { annotation: 'who=annotation,annotation=x' },
  {
    args: [
      { key: 'who', value: 'args' },
      { key: 'args', value: 'x' },
    ],
  },
  { runtime: { who: 'runtime', runtime: 'x' } },
];
for (const [i, source] of sources.entries()) {
  const name = Object.keys(source)[0]!;
  test(`labels by ${name} win over the ${i} weaker sources and leave their other labels`, () => {
    const found = labels(Object.assign({}, ...sources.slice(0, i + 1)));
    assert.equal(found['who'], name);
    assert.equal(Object.keys(found).length, i + 2);
  });
}

const annotationRows: readonly (readonly [string, object | RegExp])[] = [
  ['', {}],
  ['  ', {}],
  ['a=b', { a: 'b' }],
  [' a = b , c=d ', { a: 'b', c: 'd' }],
  ['a=', { a: '' }],
  ['a=1,a=2', { a: '2' }],
  ['example.com/a=b', { 'example.com/a': 'b' }],
  ['a', /key=value/],
  ['a=b,', /key=value/],
  ['a=b=c', /key=value/],
  ['=b', /annotation tollgate\.dev\/labels/],
];
for (const [annotation, wanted] of annotationRows) {
  test(`the annotation "${annotation}" ${wanted instanceof RegExp ? 'is code 7' : `means ${JSON.stringify(wanted)}`}`, () => {
    const call = () => labels({ annotation });
    if (wanted instanceof RegExp)
      assert.throws(
        call,
        (error: unknown) => error instanceof CniError && error.code === 7 && wanted.test(error.message),
      );
    else assert.deepEqual(call(), wanted);
  });
}

const syntax: readonly (readonly [string, string, boolean])[] = [
  ['a', 'b', true],
  ['A_b.c-9', 'A_b.c-9', true],
  ['app.kubernetes.io/name', '', true],
  ['constructor', 'x', true],
  ['a'.repeat(63), 'b'.repeat(63), true],
  [`${'a'.repeat(253)}/b`, 'c', true],
  ['', 'b', false],
  ['-a', 'b', false],
  ['a-', 'b', false],
  ['a b', 'b', false],
  ['a/b/c', 'b', false],
  ['/b', 'c', false],
  ['a/', 'c', false],
  ['Example.com/a', 'b', false],
  ['a..b/c', 'd', false],
  ['__proto__', 'x', false],
  ['a'.repeat(64), 'b', false],
  [`${'a'.repeat(254)}/b`, 'c', false],
  ['a', 'b'.repeat(64), false],
  ['a', '-b', false],
  ['a', 'b c', false],
  ['a', '../../etc', false],
  ['a', '%d', false],
  ['a', 'b\0', false],
  ['a', 'b\n', false],
  ['a', 'b"; flush ruleset; "', false],
  ['ä', 'b', false],
];
for (const [key, value, isGood] of syntax) {
  const shown = `${JSON.stringify(key.slice(0, 20))} (${key.length}) = ${JSON.stringify(value.slice(0, 20))} (${value.length})`;
  test(`a label ${shown} ${isGood ? 'is carried' : 'fails the call with code 7, naming source and rule'}`, () => {
    const call = () => labels({ args: [{ key, value }] });
    if (isGood) assert.deepEqual(call(), { [key]: value });
    else
      assert.throws(
        call,
        (error: unknown) =>
          error instanceof CniError && error.code === 7 && /from "args\.cni\.labels": expected a /.test(error.message),
      );
  });
}

test('every source is held to the same rule, a bad label that a stronger source overrides included', () => {
  const bad: readonly (readonly [Said, RegExp])[] = [
    [{ config: { 'a b': 'x' }, runtime: { 'a b': 'y' } }, /config key "labels"/],
    [{ annotation: 'a=-' }, /annotation tollgate\.dev\/labels/],
    [{ args: [{ key: 'a', value: '-' }] }, /"args\.cni\.labels"/],
    [{ runtime: { a: '-' } }, /"runtimeConfig\.labels"/],
  ];
  for (const [said, source] of bad)
    assert.throws(
      () => labels(said),
      (error: unknown) => error instanceof CniError && source.test(error.message),
    );
});

test('a pod has the namespace and name of CNI_ARGS, else "default" and its containerID', () => {
  const of = (args: string) => podNameOf({ containerID: 'c1', args: parseArgs(args) });
  assert.deepEqual(of(''), { namespace: 'default', name: 'c1' });
  assert.deepEqual(of('K8S_POD_NAMESPACE=;K8S_POD_NAME='), { namespace: 'default', name: 'c1' });
  assert.deepEqual(of('K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-0'), { namespace: 'shop', name: 'web-0' });
});
