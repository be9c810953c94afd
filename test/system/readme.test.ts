/** What the README says is so: its examples are files that we ship, its tables name every key, its commands exist. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { parseConfig } from '../../lib/cni/config.ts';
import { ownKeys } from '../../lib/cni/own-keys.ts';

const read = (path: string) => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8');
const readme = read('README.md');
const blocks = (language: string) =>
  [...readme.matchAll(new RegExp(`\`\`\`${language}\\n([\\s\\S]*?)\`\`\``, 'g'))].map(m => m[1]!);
const tollgate = process.env['TOLLGATE'] ?? new URL('../../dist/tollgate', import.meta.url).pathname;
const helps = new Map<string, string>();

/** What `tollgate … --help` says, asked once. */
function help(...args: readonly string[]): string {
  const key = args.join(' ');
  const said = helps.get(key) ?? execFileSync(tollgate, [...args, '--help'], { encoding: 'utf8' });
  helps.set(key, said);
  return said;
}

test('the conflist of the README is the one that is shipped and installed', () => {
  assert.equal(blocks('json')[0], read('conf/10-tollgate.conflist'));
});

test('the conflist of the README is a valid configuration without a warning', () => {
  const { plugins, cniVersion, name } = JSON.parse(read('conf/10-tollgate.conflist')) as Record<string, unknown> & {
    plugins: object[];
  };
  const config = parseConfig(JSON.stringify({ cniVersion, name, ...plugins[0] }), 'ADD');
  assert.deepEqual(config.warnings, []);
});

for (const key of ownKeys) {
  test(`the table of configuration keys has \`${key}\``, () => {
    assert.match(readme, new RegExp(`^\\| .*\`${key}\``, 'm'));
  });
}

test('the defaults in the table are those of the code', () => {
  const config = parseConfig('{"cniVersion": "1.1.0", "name": "n", "type": "tollgate"}', 'ADD');
  const row = (key: string) => readme.split('\n').find(line => line.startsWith(`| \`${key}\``)) ?? '';
  for (const key of ['policies', 'established', 'enforceTimeout', 'nflogGroup', 'agentGrace'] as const)
    assert.ok(row(key).includes(`\`${config[key]}\``), `${key}: ${row(key)}`);
  assert.ok(row('enforcer').includes(`\`${config.enforcer.kind}\``));
  assert.ok(row('stateDir').includes(`\`${config.stateDir}\``) && row('stateDir').includes(`\`${config.runDir}\``));
});

const commands = new Set(
  [...readme.matchAll(/(?:^|[`/ ])tollgate ((?:[a-z]+ ?){1,2})/gm)]
    .map(found => found[1]!.trim().split(' '))
    .flatMap(([first = '', second]) => (first === 'policy' && second ? [`${first} ${second}`] : [first]))
    .filter(command => help().includes(`tollgate ${command.split(' ')[0]}`)),
);
for (const command of commands) {
  test(`\`tollgate ${command}\`, which the README speaks of, exists`, () => {
    assert.match(help(...command.split(' ')), new RegExp(`tollgate ${command}`));
  });
}

test('the README names the commands that there are', () => {
  const listed = [...help().matchAll(/^ {2}tollgate ([a-z-]+)/gm)].map(found => found[1]!);
  const missing = listed.filter(command => !readme.includes(`tollgate ${command}`) && command !== 'version');
  assert.deepEqual(missing, []);
});

test('each npm command of the README is a script of the package', () => {
  const { scripts } = JSON.parse(read('package.json')) as { scripts: Record<string, string> };
  const spoken = [...readme.matchAll(/npm (?:run )?([a-z:]+)/g)].map(found => found[1]!).filter(name => name !== 'and');
  for (const name of new Set(spoken)) assert.ok(scripts[name], name);
});

test('the README calls exactly the test command that CI calls', () => {
  assert.match(read('.ci/run'), /^npm test$/m);
  assert.match(blocks('sh')[0]!, /^npm test\b/m);
});
