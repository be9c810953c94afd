/**
 * Bundles cmd/tollgate.ts and packs it with the Node that runs this script into one executable.
 *
 * Usage, with the Node that node.mjs prepared: node pack.ts OUTPUT LAUNCHER [BANNER]
 * LAUNCHER: cmd/launcher.c, compiled; `tollgate install` puts it where runtimes look.
 * BANNER: a file of JavaScript to run before the first line of ours; the benchmark keeps time with it.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import {
  closeSync,
  copyFileSync,
  existsSync,
  globSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join, resolve } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import sea from '@yao-pkg/pkg/lib-es5/sea.js';
import { type BuildOptions, build, type Plugin } from 'esbuild';
import { assetOf, compile, wrap } from './part.ts';

const root = resolve(import.meta.dirname, '..');

/**
 * Of the executable, and so of whatever makes its code caches, which V8 refuses under other flags. New objects have room for
 * a whole ADD: with the usual megabyte V8 stops twice to copy what lives, which takes a tenth of the call. More than twice
 * as much makes nothing faster: it is 35 MB that a busy agent holds.
 */
const v8Flags = ['--min-semi-space-size=4', '--max-semi-space-size=8'];
for (const flag of v8Flags) setFlagsFromString(flag);

const nodeFlags = [
  // node:ffi would say on stderr that it is experimental.
  '--disable-warning=ExperimentalWarning',
  // A signal that makes a process of root's listen for a debugger is of no use here; nor is the thread that waits for it.
  '--disable-sigusr1',
  // Threads that compile and sweep meanwhile: four would be started for every call, and keep 7 MB of an agent.
  '--v8-pool-size=2',
];

/**
 * What is loaded on demand: a file → the name of its part. What two parts share is in both, so they may hand each other
 * plain values only.
 */
const parts: Readonly<Record<string, string>> = {
  'lib/pod/plugin.ts': 'plugin',
  'lib/cli/main.ts': 'cli',
  'lib/ipam/cidr.ts': 'cidr',
  'lib/policy/yaml.ts': 'yaml',
  'lib/agent/handover.ts': 'handover',
};

/** To whoever imports it, a part is not the file itself but what `load` makes of the part's assets. */
const partsFromAssets: Plugin = {
  name: 'parts from assets',
  setup: ({ onResolve, onLoad }) => {
    onResolve({ filter: /\.ts$/ }, ({ path, resolveDir, kind }) => {
      if (kind === 'entry-point') return undefined;
      const part = parts[join(resolveDir, path).slice(root.length + 1)];
      return part === undefined ? undefined : { path: part, namespace: 'part' };
    });
    onLoad({ filter: /./, namespace: 'part' }, ({ path }) => ({
      contents: `module.exports = require('./part.ts').load('${path}')`,
      resolveDir: import.meta.dirname,
    }));
  },
};

const littleOs: Plugin = {
  name: 'little os',
  setup: ({ onResolve }) =>
    onResolve({ filter: /^os$/ }, ({ importer }) =>
      importer.includes('/node_modules/netlink/') ? { path: join(root, 'lib/kernel/os.cjs') } : undefined,
    ),
};

const options: BuildOptions = {
  absWorkingDir: root,
  bundle: true,
  platform: 'node',
  target: 'node26',
  format: 'cjs',
  // A script in a code cache knows no import(); require() of a module of Node's own does the same.
  supported: { 'dynamic-import': false },
  // Node prints the line that threw, and a stack trace must be readable: short lines, and names as they are.
  minifySyntax: true,
  minifyWhitespace: true,
  lineLimit: 120,
  charset: 'ascii',
  legalComments: 'none',
  // The package `netlink` looks for its addon in the file system; in the executable it is an asset.
  alias: { 'node-gyp-build': join(root, 'lib/kernel/node-gyp-build.cjs') },
  // yargs 18 asks where it lies, in order to find its translations; nowhere is the answer.
  define: { 'import.meta.url': '"file:///nowhere/tollgate.js"' },
  plugins: [partsFromAssets, littleOs],
  logLevel: 'warning',
};

/** Code cache of a script with all of its functions in it. V8 notes the flags in it, hence they must be as before. */
function fullCodeCache(name: string, text: string): Buffer {
  setFlagsFromString('--no-lazy');
  const script = compile(name, text);
  setFlagsFromString('--lazy');
  return script.createCachedData();
}

/** @throws Error where another process of this Node does not take the cache, which would only show as slowness */
function checkCodeCache(name: string, scriptFile: string, cacheFile: string): void {
  const check = `
    import { readFileSync } from 'node:fs';
    import { compile } from ${JSON.stringify(join(import.meta.dirname, 'part.ts'))};
    const [name, script, cache] = process.argv.slice(1);
    console.log(compile(name, readFileSync(script, 'latin1'), readFileSync(cache)).cachedDataRejected);`;
  const args = [...v8Flags, ...nodeFlags, '--input-type=module', '--eval', check];
  const rejected = execFileSync(process.execPath, [...args, name, scriptFile, cacheFile], { encoding: 'utf8' });
  if (rejected.trim() !== 'false') throw new Error(`Cannot use the code cache of ${name}: rejected is ${rejected}`);
}

/**
 * The plugin's code cache is made anew of what calls run, where this machine lets us call it; which takes root's rights or a
 * user namespace.
 * @returns why not, where not
 */
function train(folder: string): string | undefined {
  let why = '';
  for (const how of [['--net'], ['--user', '--map-root-user', '--net']]) {
    const program = [process.execPath, ...v8Flags, ...nodeFlags, join(import.meta.dirname, 'train.ts'), folder];
    const { status, error, stdout, stderr } = spawnSync('unshare', [...how, ...program], {
      encoding: 'utf8',
      timeout: 60_000,
    });
    if (status === 0) return undefined;
    why = error?.message ?? `${stderr}${stdout}`.trim();
  }
  return why;
}

/** @returns the part's assets */
async function bundlePart(folder: string, entry: string, name: string): Promise<Record<string, string>> {
  const script = join(folder, `${name}.js`);
  const cache = join(folder, `${name}.cache`);
  await build({ ...options, entryPoints: [entry], outfile: script });
  const text = wrap(readFileSync(script, 'latin1'));
  writeFileSync(script, text, 'latin1');
  writeFileSync(cache, fullCodeCache(name, text));
  checkCodeCache(name, script, cache);
  return { [`${name}.js`]: script, [`${name}.cache`]: `${cache}.asset` };
}

/** Every part's, once it is final. */
function makeCachesAssets(folder: string): void {
  for (const cache of globSync('*.cache', { cwd: folder }).map(name => join(folder, name)))
    writeFileSync(`${cache}.asset`, assetOf(readFileSync(cache)));
}

/** Moves them to where V8 takes them as they lie. @throws Error where one is not in the executable */
function alignCaches(folder: string, executable: string): void {
  const bytes = readFileSync(executable);
  const fd = openSync(executable, 'r+');
  for (const name of globSync('*.cache', { cwd: folder })) {
    const cache = readFileSync(join(folder, name));
    const at = bytes.indexOf(cache);
    if (at < 0) throw new Error(`Cannot find ${name} in ${executable}`);
    // What is mapped lies as in the file, as far as a page goes.
    writeSync(fd, assetOf(cache, -at & 7), 0, undefined, at);
  }
  closeSync(fd);
}

/**
 * pkg's simple mode. By its command line, pkg forwards none of `seaConfig`; hence its inner function, version pinned.
 *
 * @param folder  holds `tollgate.js`; pkg works in a folder of its own in there
 */
async function pack(folder: string, assets: Readonly<Record<string, string>>, output: string): Promise<void> {
  const seaConfig = {
    // As stack traces will call it: no path of the machine that it was built on.
    main: '../tollgate.js',
    disableExperimentalSEAWarning: true,
    useSnapshot: false,
    // Its maker has none of our flags; and the door is small, all else has caches of its own.
    useCodeCache: false,
    assets,
    execArgv: [...nodeFlags, ...v8Flags],
    // NODE_OPTIONS is meant for other programs.
    execArgvExtension: 'none',
  };
  const target = { platform: 'linux', arch: process.arch as 'arm64' | 'x64', nodeRange: 'node26', output } as const;
  await sea.default(join(folder, 'tollgate.js'), { targets: [target], useLocalNode: true, seaConfig });
}

const [output, launcher, bannerFile] = process.argv.slice(2);
if (!output || !launcher) throw new Error('Usage: node pack.ts OUTPUT LAUNCHER [BANNER]');
const addon = join(root, `node_modules/netlink/prebuilds/linux-${process.arch}/node.napi.node`);
if (!existsSync(addon)) throw new Error(`Cannot pack for ${process.arch}: no ${addon}`);
const folder = mkdtempSync(`${resolve(output)}-`);
process.env['TMPDIR'] = folder;
try {
  const assets: Record<string, string> = { 'netlink.node': addon, launcher: resolve(launcher) };
  // What `tollgate install` writes.
  for (const name of globSync('**/*.*', { cwd: join(root, 'conf') })) assets[`conf/${name}`] = join(root, 'conf', name);
  for (const [entry, name] of Object.entries(parts)) Object.assign(assets, await bundlePart(folder, entry, name));
  copyFileSync(addon, join(folder, 'netlink.node'));
  const untrained = train(folder);
  if (untrained) console.error(`The plugin starts 2 ms later than it could, for it cannot be run here: ${untrained}`);
  else checkCodeCache('plugin', join(folder, 'plugin.js'), join(folder, 'plugin.cache'));
  const door = join(folder, 'tollgate.js');
  const banner = { js: bannerFile ? readFileSync(bannerFile, 'utf8') : '' };
  await build({ ...options, banner, entryPoints: ['cmd/tollgate.ts'], outfile: door });
  makeCachesAssets(folder);
  await pack(folder, assets, resolve(output));
  alignCaches(folder, resolve(output));
} finally {
  rmSync(folder, { recursive: true });
}
