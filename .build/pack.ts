/**
 * Bundles cmd/tollgate.ts and packs it with the Node that runs this script into one executable.
 *
 * Usage, with the Node that node.mjs prepared: node pack.ts OUTPUT
 */
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import sea from '@yao-pkg/pkg/lib-es5/sea.js';
import { build } from 'esbuild';

const root = resolve(import.meta.dirname, '..');

/** One CommonJS file, which is the form that a code cache can be made of. */
async function bundle(outfile: string): Promise<void> {
  await build({
    absWorkingDir: root,
    entryPoints: ['cmd/tollgate.ts'],
    outfile,
    bundle: true,
    platform: 'node',
    target: 'node26',
    format: 'cjs',
    // Not minified: the code cache makes reading it free, and Node prints the line that threw.
    legalComments: 'none',
    // The package `netlink` looks for its addon in the file system; in the executable it is an asset.
    alias: { 'node-gyp-build': join(root, 'lib/kernel/node-gyp-build.cjs') },
    // yargs 18 asks where it lies, in order to find its translations; nowhere is the answer.
    define: { 'import.meta.url': '"file:///nowhere/tollgate.js"' },
    logLevel: 'warning',
  });
}

/**
 * pkg's simple mode. By its command line, pkg forwards none of `seaConfig`; hence its inner function, version pinned.
 *
 * @param folder  holds `tollgate.js`; pkg works in a folder of its own in there
 */
async function pack(folder: string, output: string): Promise<void> {
  const addon = join(root, `node_modules/netlink/prebuilds/linux-${process.arch}/node.napi.node`);
  if (!existsSync(addon)) throw new Error(`Cannot pack for ${process.arch}: no ${addon}`);
  const seaConfig = {
    // As stack traces will call it: no path of the machine that it was built on.
    main: '../tollgate.js',
    disableExperimentalSEAWarning: true,
    useSnapshot: false,
    useCodeCache: true,
    assets: { 'netlink.node': addon },
    // node:ffi would say on stderr that it is experimental.
    execArgv: ['--disable-warning=ExperimentalWarning'],
    // NODE_OPTIONS is meant for other programs.
    execArgvExtension: 'none',
  };
  const target = { platform: 'linux', arch: process.arch as 'arm64' | 'x64', nodeRange: 'node26', output } as const;
  await sea.default(join(folder, 'tollgate.js'), { targets: [target], useLocalNode: true, seaConfig });
}

const output = process.argv[2];
if (!output) throw new Error('Usage: node pack.ts OUTPUT');
const folder = mkdtempSync(`${resolve(output)}-`);
process.env['TMPDIR'] = folder;
try {
  await bundle(join(folder, 'tollgate.js'));
  await pack(folder, resolve(output));
} finally {
  rmSync(folder, { recursive: true });
}
