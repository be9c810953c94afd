/** The tarball of the release, unpacked: what is in it works and says what the executable says. */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { arch, released, version } from '../support/release.ts';
import { scratchFolder } from '../support/scratch.ts';

const folder = scratchFolder('tarball');
execFileSync('tar', [
  '-xzf',
  released(`tollgate-${version}-linux-${arch}.tar.gz`),
  '--strip-components=1',
  '-C',
  folder,
]);
const executable = join(folder, 'bin/tollgate');
const say = (...args: readonly string[]) => execFileSync(executable, args, { encoding: 'utf8' });

test('the executable runs, and the launcher beside it is the one that it installs', () => {
  assert.match(say('version'), new RegExp(`^tollgate ${version.replaceAll('.', '\\.')} `));
  say('install', '--no-conflist', '--bin-dir', join(folder, 'cni'));
  assert.ok(readFileSync(join(folder, 'cni/tollgate')).equals(readFileSync(join(folder, 'lib/tollgate/launcher'))));
});

const pages = readdirSync(join(folder, 'share/man/man1')).sort();

/** As a terminal of that many columns shows it. */
function rendered(page: string): { readonly text: string; readonly warnings: string } {
  const env = { ...process.env, MANWIDTH: '500', LC_ALL: 'C.UTF-8', MAN_KEEP_FORMATTING: '' };
  const args = ['--warnings', '--no-hyphenation', '-E', 'UTF-8', '--local-file', join(folder, 'share/man/man1', page)];
  const { stdout, stderr, status } = spawnSync('man', args, { encoding: 'utf8', env });
  assert.equal(status, 0, stderr);
  return { text: stdout, warnings: stderr };
}

/** Both programs that the executable is, as man and as a person call them. */
const programs = { tollgate: 'tollgate', 'kubectl-tollgate': 'kubectl tollgate' } as const;
type Program = keyof typeof programs;
const helps = new Map<string, string>();

/** What the command says for `--help`, asked once. */
function help(program: Program, ...command: readonly string[]): string {
  const key = [program, ...command].join(' ');
  const said =
    helps.get(key) ?? execFileSync(join(folder, 'bin', program), [...command, '--help'], { encoding: 'utf8' });
  helps.set(key, said);
  return said;
}

/** The pages that there should be of a command, and of those below it. */
function pagesOf(program: Program, ...command: readonly string[]): readonly string[] {
  const [before = ''] = help(program, ...command).split('\nOptions:');
  const prefix = [programs[program], ...command].join(' ');
  const below = [...before.matchAll(new RegExp(`^ {2}${prefix} ([a-z-]+)`, 'gm'))].map(([, name]) => name!);
  return [`${[program, ...command].join('-')}.1`, ...below.flatMap(name => pagesOf(program, ...command, name))];
}

test('each command has a manual page', () => {
  assert.deepEqual(pages, [...pagesOf('tollgate'), ...pagesOf('kubectl-tollgate')].sort());
});

const words = (text: string): string => text.replace(/\s+/g, ' ');

for (const page of pages)
  test(`man has no warning for ${page}, and shows all that --help says`, () => {
    const { text, warnings } = rendered(page);
    assert.equal(warnings, '');
    const [, program, command = ''] = /^((?:kubectl-)?tollgate)-?(.*)\.1$/.exec(page)!;
    // What a node makes of a command of the plugin has a page of its own.
    const [said = ''] = help(program as Program, ...command.split('-').filter(Boolean)).split('What else may follow');
    const shown = words(text);
    for (const cell of said.split('\n').flatMap(line => line.split(/ {2,}/)))
      assert.ok(
        shown.includes(
          words(cell)
            .trim()
            .replace(/:$/, '')
            .replace(/^(Commands|Positionals|Options|Examples)$/, ''),
        ),
        cell,
      );
  });

test('bash completes the commands by the file that is shipped', () => {
  const script = `PATH=${folder}/bin:$PATH; . ${folder}/share/bash-completion/completions/tollgate
    COMP_WORDS=(tollgate pol) COMP_CWORD=1; _tollgate_yargs_completions; echo "\${COMPREPLY[@]}"`;
  assert.match(execFileSync('bash', ['-c', script], { encoding: 'utf8' }), /policy/);
});

test('zsh completes the commands by the file that is shipped, as it is typed', () => {
  // A shell on a terminal of its own: ^X shows the line that is being edited.
  const script = `zmodload zsh/zpty; zpty shell zsh -f -i
    zpty -w shell 'PATH=${folder}/bin:$PATH fpath=(${folder}/share/zsh/site-functions $fpath) PS1=; autoload -Uz compinit; compinit -D -u'
    zpty -w shell 'tell() { print -r -- "[$BUFFER]" }; zle -N tell; bindkey "^X" tell; print rea"dy"'
    zpty -r -m shell said '*ready*'
    zpty -w -n shell $'tollgate pol\\t\\x18'
    zpty -r -m shell said '*\\[tollgate pol*\\]*'; print -r -- $said`;
  assert.match(execFileSync('zsh', ['-fc', script], { encoding: 'utf8' }), /\[tollgate policy \]/);
});

test('fish completes the commands by the file that is shipped', () => {
  const script = `set PATH ${folder}/bin $PATH; source ${folder}/share/fish/vendor_completions.d/tollgate.fish; complete -C 'tollgate pol'`;
  const env = { PATH: process.env['PATH'], HOME: folder };
  assert.match(execFileSync('fish', ['-c', script], { encoding: 'utf8', env }), /^policy\b/m);
});

test('the licences are those of tollgate, of Node, of packages that the lockfile names and of data that conf/ carries', () => {
  const { packages } = JSON.parse(readFileSync(new URL('../../package-lock.json', import.meta.url), 'utf8')) as {
    packages: Record<string, { version: string }>;
  };
  const locked = new Set(
    Object.entries(packages).map(([path, of]) => `${path.split('node_modules/').pop()} ${of.version}`),
  );
  const data = JSON.parse(
    readFileSync(new URL('../../conf/network-policy-api/package.json', import.meta.url), 'utf8'),
  ) as Record<'name' | 'version', string>;
  locked.add(`${data.name} ${data.version}`);
  const carried = JSON.parse(say('licenses', '-o', 'json')) as Record<
    'name' | 'version' | 'license' | 'text',
    string
  >[];
  const names = carried.map(({ name }) => name);
  for (const name of ['tollgate', 'yaml', 'yargs', 'netlink', `node-linux-${process.arch}`, data.name])
    assert.ok(names.includes(name), name);
  for (const { name, version, license, text } of carried) {
    assert.ok(name === 'tollgate' || locked.has(`${name} ${version}`), `${name} ${version}`);
    assert.ok(license && text, name);
  }
  assert.equal(readFileSync(join(folder, 'share/doc/tollgate/licenses'), 'utf8'), say('licenses'));
});
