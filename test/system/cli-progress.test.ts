/** Long work says on a terminal what is under way, and nothing of it in a pipe. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { copyFileSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { root } from '../support/checkout.ts';
import { runDir, startHost, tollgate } from '../support/cni.ts';
import type { Host } from '../support/host.ts';
import { scratchFolder } from '../support/scratch.ts';
import { until } from '../support/until.ts';

const folder = scratchFolder('progress');

interface Work {
  readonly what: string;
  /** A line for bash. */
  readonly command: string;
  /** What is told of it. */
  readonly told: RegExp;
  /** It takes minutes, so it is ended once it has told something; a test of its own has it run in a pipe. */
  readonly isLong?: true;
}

const places = '--bin-dir /run/work/bin --conf-dir /run/work/net.d';
const script = (name: string, text: string): string => {
  const path = join(folder, name);
  writeFileSync(path, text);
  return `${process.execPath} ${path}`;
};

/** build.sh of the clusters, with a recipe that takes two seconds. */
function clusterBuild(): string {
  const place = join(folder, 'cluster');
  mkdirSync(place);
  copyFileSync(join(root, 'test/cluster/build.sh'), join(place, 'build.sh'));
  const recipe = `room=1 duration='two seconds'
    name_of_build() { echo tiny; }
    progress() { grep -oE "^\\+ step [0-9]" "$1" | tail -n 1; }
    step() { sleep 1; }
    compile() { mkdir "$1/bin"; step 1; step 2; step 3; }\n`;
  writeFileSync(join(place, 'build-tiny.sh'), recipe);
  return `TOLLGATE_CLUSTER_CACHE=$(mktemp -d ${folder}/cache-XXXX) bash ${place}/build.sh tiny`;
}

const works: readonly Work[] = [
  {
    what: 'connectivity test',
    command: `${tollgate} connectivity test ${places}`,
    told: /plugging in .*tollgate-connectivity\/open/,
  },
  {
    what: 'sysdump',
    command: `${tollgate} sysdump -o /run/dump --conf-dir /run/work/net.d --run-dir ${runDir}`,
    told: /\d+\/\d+ /,
  },
  {
    what: 'release',
    command: `${root}/.build/release.sh --no-build --output ${folder}/release`,
    told: /release: manual pages/,
    isLong: true,
  },
  {
    what: 'bench',
    command: script(
      'bench.ts',
      `import { sayer } from '${root}/test/bench/progress.ts'; sayer('gate')('a pod to a pod');`,
    ),
    told: /\d+ s gate: a pod to a pod/,
  },
  { what: 'building a cluster', command: clusterBuild(), told: /Kubernetes tiny: \+ step \d/ },
];

const start = async (): Promise<Host> => {
  const host = await startHost({ setup: 'mkdir -p /run/etc; cp -a /etc/. /run/etc; mount --bind /run/etc /etc' });
  await host.must([
    tollgate,
    'install',
    '--bin-dir',
    '/run/work/bin',
    '--conf-dir',
    '/run/work/net.d',
    '--run-dir',
    runDir,
  ]);
  return host;
};

for (const { what, command, told, isLong } of works)
  test(`${what}: told on a terminal, silent in a pipe`, async () => {
    using host = await start();
    const terminal = ['script', '-qec', command, '/dev/null'];
    if (isLong) {
      const child = host.spawn(terminal);
      let said = '';
      child.stdout!.setEncoding('utf8').on('data', (text: string) => {
        said += text;
      });
      await until('it to tell', () => told.test(said));
      child.kill('SIGTERM');
      await once(child, 'exit');
      await until('its work folder to be gone', () => !readdirSync(folder).some(name => name.startsWith('.')));
      return;
    }
    const piped = await host.run(['bash', '--norc', '-c', command]);
    assert.equal(piped.exit, 0, piped.stderr);
    assert.doesNotMatch(piped.stdout + piped.stderr, told);
    const { exit, stdout } = await host.run(terminal);
    assert.equal(exit, 0, stdout);
    assert.match(stdout, told);
  });
