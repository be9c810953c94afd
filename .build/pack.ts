/**
 * Bundles cmd/tollgate.ts and packs it with the Node that runs this script into one executable.
 *
 * Usage, with the Node that node.mjs prepared: node pack.ts OUTPUT LAUNCHER [BANNER]
 * LAUNCHER: cmd/launcher.c, compiled; `tollgate install` puts it where runtimes look.
 * BANNER: a file of JavaScript to run before the first line of ours; the benchmark keeps time with it.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, globSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import sea from '@yao-pkg/pkg/lib-es5/sea.js';
import { type BuildOptions, build, type Plugin } from 'esbuild';
import { carriedPackages } from './licenses.ts';
import { buildPage, pageFolders, pageName } from './page.ts';
import { wrap } from './part.ts';

const root = resolve(import.meta.dirname, '..');

/**
 * The executable runs with these, and so does each process that makes a code cache: V8 refuses a cache that was made under
 * other flags. The young generation has room for a whole ADD: in V8's default of 1 MB an ADD triggers two scavenges, a tenth
 * of its time. More than twice the room makes no call faster and costs a busy agent 35 MB.
 */
const v8Flags = ['--min-semi-space-size=4', '--max-semi-space-size=8'];

const nodeFlags = [
  // node:ffi would say on stderr that it is experimental.
  '--disable-warning=ExperimentalWarning',
  // A signal that makes a process of root's listen for a debugger is of no use here; nor is the thread that waits for it.
  '--disable-sigusr1',
  // Threads that compile and sweep meanwhile: four would be started for every call, and keep 7 MB of an agent.
  '--v8-pool-size=2',
];

/**
 * Modules that are loaded on demand: a file → the name of its part. Modules that two parts share are in both, so parts may hand
 * each other plain values only.
 */
const parts: Readonly<Record<string, string>> = {
  'lib/pod/plugin.ts': 'plugin',
  'lib/cli/main.ts': 'cli',
  'lib/ipam/cidr.ts': 'cidr',
  'lib/policy/manifest/yaml.ts': 'yaml',
  'lib/rpc/client.ts': 'handover',
};

/** Replaces the import of a part's file by what `load` makes of the part's assets. */
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

/** What Node or a package brings → what stands in for it where one of these packages asks. */
const standIns: readonly { readonly name: string; readonly standIn: string; readonly askedBy: RegExp }[] = [
  { name: 'os', standIn: 'lib/kernel/os.cjs', askedBy: /\/node_modules\/netlink\// },
  { name: 'string-width', standIn: 'lib/cli/string-width.cjs', askedBy: /\/node_modules\// },
];

const standingIn: Plugin = {
  name: 'stand-ins',
  setup: ({ onResolve }) => {
    for (const { name, standIn, askedBy } of standIns)
      onResolve({ filter: new RegExp(`^${name}$`) }, ({ importer }) =>
        askedBy.test(importer) ? { path: join(root, standIn) } : undefined,
      );
  },
};

const options: BuildOptions = {
  absWorkingDir: root,
  bundle: true,
  // Paths of packages stand in the bundle: they begin with node_modules/ wherever that leads.
  preserveSymlinks: true,
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
  plugins: [partsFromAssets, standingIn],
  logLevel: 'warning',
};

/** Runs a script of this folder under the flags of the executable. @returns its standard output */
const runNode = (...args: readonly string[]): string =>
  execFileSync(process.execPath, ['--random-seed=1', ...v8Flags, ...nodeFlags, ...args], { encoding: 'utf8' });

/** @throws Error if the executable would refuse the cache, which would only show as slowness */
function checkCodeCache(name: string, script: string, cache: string): void {
  const check = `
    import { readFileSync } from 'node:fs';
    import { compile } from ${JSON.stringify(join(import.meta.dirname, 'part.ts'))};
    const [name, script, cache] = process.argv.slice(1);
    console.log(compile(name, readFileSync(script, 'latin1'), readFileSync(cache)).cachedDataRejected);`;
  const rejected = runNode('--input-type=module', '--eval', check, name, script, cache).trim();
  if (rejected !== 'false') throw new Error(`Cannot use the code cache of ${name}: rejected is ${rejected}`);
}

/** esbuild's, into one file. @returns the files that it read, relative to the root */
async function bundle(more: BuildOptions): Promise<readonly string[]> {
  const { metafile } = await build({ ...options, ...more, metafile: true });
  return Object.keys(metafile!.inputs);
}

/** @returns the part's assets, and the files that it is made of */
async function bundlePart(folder: string, entry: string, name: string) {
  const script = join(folder, `${name}.js`);
  const cache = join(folder, `${name}.cache`);
  const inputs = await bundle({ entryPoints: [entry], outfile: script });
  writeFileSync(script, wrap(readFileSync(script, 'latin1')), 'latin1');
  runNode(join(import.meta.dirname, 'code-cache.ts'), name, script, cache);
  checkCodeCache(name, script, cache);
  return { inputs, assets: { [`${name}.js`]: script, [`${name}.cache`]: cache } };
}

/**
 * pkg's simple mode. By its command line, pkg forwards none of `seaConfig`; hence its inner function, version pinned.
 *
 * @param folder  holds `tollgate.js`; pkg works in a folder of its own in there
 */
async function pack(folder: string, assets: Readonly<Record<string, string>>, output: string): Promise<void> {
  const seaConfig = {
    // Stack traces show this path, so it must not be one of the machine that builds.
    main: '../tollgate.js',
    disableExperimentalSEAWarning: true,
    useSnapshot: false,
    // pkg would make it without our flags; this script is small, and all parts have caches of their own.
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
  // `tollgate install` writes these. Sorted: the file system's order would be the executable's.
  for (const name of globSync('**/*.*', { cwd: join(root, 'conf'), exclude: ['*.md'] }).sort())
    assets[`conf/${name}`] = join(root, 'conf', name);
  const inputs: string[] = [];
  for (const [entry, name] of Object.entries(parts)) {
    const part = await bundlePart(folder, entry, name);
    Object.assign(assets, part.assets);
    inputs.push(...part.inputs);
  }
  for (const source of pageFolders()) {
    const page = join(folder, `${pageName(source)}.html`);
    writeFileSync(page, await buildPage(source));
    assets[`pages/${pageName(source)}.html`] = page;
  }
  const door = join(folder, 'tollgate.js');
  const banner = { js: bannerFile ? readFileSync(bannerFile, 'utf8') : '' };
  inputs.push(...(await bundle({ banner, entryPoints: ['cmd/tollgate.ts'], outfile: door })));
  const whole = ['.', `node_modules/node-linux-${process.arch}`, 'node_modules/netlink', 'conf/network-policy-api'];
  assets['licenses.json'] = join(folder, 'licenses.json');
  writeFileSync(assets['licenses.json'], JSON.stringify(carriedPackages(root, inputs, whole)));
  await pack(folder, assets, resolve(output));
} finally {
  rmSync(folder, { recursive: true });
}
