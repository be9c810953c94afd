/** `kubectl tollgate` against a kubectl that knows three nodes: which nodes are asked, and what is refused. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { tollgate } from '../support/places.ts';
import { scratchFolder } from '../support/scratch.ts';

const folder = scratchFolder('kubectl-plugin');
const program = join(folder, 'kubectl-tollgate');
const asked = join(folder, 'asked');
symlinkSync(tollgate, program);

const pods = ['a', 'b', 'c'].map(node => ({
  metadata: { name: `tollgate-${node}` },
  ...{ spec: { nodeName: node }, status: {} },
}));
writeFileSync(join(folder, 'pods.json'), JSON.stringify({ items: pods }));
const script = `#!/bin/sh
echo "$*" >>${asked}
case "$*" in
  *--selector*) cat ${folder}/pods.json ;;
  *" exec "*) echo '{"fine": true}' ;;
  *) echo '{"items": []}' ;;
esac
`;
writeFileSync(join(folder, 'kubectl'), script, { mode: 0o755 });

function plugin(...args: readonly string[]) {
  writeFileSync(asked, '');
  const env = { PATH: `${folder}:/usr/bin:/bin` };
  const { status, stdout, stderr } = spawnSync(program, args, { env, cwd: folder, encoding: 'utf8', input: '' });
  const lines = readFileSync(asked, 'utf8').split('\n');
  const nodes = lines.flatMap(line => / exec tollgate-(\w+) /.exec(line)?.[1] ?? []).sort();
  return { status, stdout, stderr, nodes };
}

for (const [name, args, nodes] of [
  ['without --node all nodes are asked', [], ['a', 'b', 'c']],
  ['one node is asked', ['--node', 'b'], ['b']],
  ['several nodes are asked, each once', ['--node', 'c', '--node', 'a', '--node=a'], ['a', 'c']],
] as const)
  test(name, () => {
    const answer = plugin('status', '-o', 'json', ...args);
    assert.equal(answer.status, 0, answer.stderr);
    assert.deepEqual(answer.nodes, nodes);
    assert.deepEqual(JSON.parse(answer.stdout), Object.fromEntries(nodes.map(node => [node, { fine: true }])));
  });

test('--node may come before the command', () => {
  assert.deepEqual(plugin('--node', 'b', 'status').nodes, ['b']);
});

test('a node without tollgate is named, and no other is asked', () => {
  const { status, stderr, nodes } = plugin('status', '--node', 'a', '--node', 'z');
  assert.equal(stderr, 'tollgate: Cannot ask node z: tollgate runs on a, b, c\n');
  assert.deepEqual({ status, nodes }, { status: 3, nodes: [] });
});

for (const [args, message] of [
  [['stauts'], /^tollgate: Unknown command: stauts; did you mean status\?\n$/],
  [['fly'], /^tollgate: Unknown command: fly; see --help\n$/],
  [['-n', 'kube-system', 'status'], /^tollgate: Unknown option: -n; see --help\n$/],
  [['status', '--context', 'a', '--context', 'b'], /^tollgate: Cannot use --context more than once\n$/],
  [['policy', 'list', '--node', 'a'], /^tollgate: Cannot use --node here: policies are judged/],
  [['sysdump', '--node', 'a'], /^tollgate: Cannot use --node here: the archive is of the whole cluster\n$/],
  [['connectivity', 'test', '--node', 'a'], /^tollgate: Cannot use --node here: the pods are made on two nodes/],
  [['connectivity', 'test', '--hst-port', '1'], /^tollgate: Unknown option: --hst-port; see --help\n$/],
  [['connectivity', 'test', '--host-port', '0'], /^tollgate: Cannot use --host-port: .* from 1 to 65535\n$/],
  [['connectivity', 'tst'], /^tollgate: What to do\? kubectl tollgate connectivity test\n$/],
] as const)
  test(`${args.join(' ')}: exit code 2, and no node is asked`, () => {
    const { status, stdout, stderr, nodes } = plugin(...args);
    assert.match(stderr, message);
    assert.deepEqual({ status, stdout, nodes }, { status: 2, stdout: '', nodes: [] });
  });

test('where no agent is ready, nothing was tried, which is no success', () => {
  const asJson = plugin('connectivity', 'test', '-o', 'json');
  const { ok, checks, notTried } = JSON.parse(asJson.stdout) as Readonly<Record<string, unknown>>;
  assert.deepEqual({ ok, checks, notTried }, { ok: false, checks: [], notTried: ['pods: no agent is ready'] });
  const asText = plugin('connectivity', 'test');
  assert.match(asText.stdout, /^not tried: pods: no agent is ready\nNothing could be tried\.\nLikely causes:\n {2}a: /);
  assert.deepEqual([asJson.status, asText.status], [1, 1]);
});

for (const [words, option, example] of [
  [['gc'], '--dry-run', 'kubectl tollgate gc --force'],
  [['gc', '--force'], '--dry-run', 'kubectl tollgate gc -o json'],
  [['policy', 'explain'], '--from', 'kubectl tollgate policy explain --from'],
] as const)
  test(`${words.join(' ')} --help says all that may follow, in words that may be typed`, () => {
    const { status, stdout, nodes } = plugin(...words, '--help');
    assert.deepEqual({ status, nodes }, { status: 0, nodes: [] });
    for (const text of ['--node', option, example]) assert.ok(stdout.includes(text), `${text} is not in\n${stdout}`);
    assert.doesNotMatch(stdout, new RegExp(`(?<!kubectl )tollgate ${words[0]}`));
  });
