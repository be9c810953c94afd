/**
 * Bundles cmd/tollgate.ts and packs it with the Node that runs this script into one executable.
 *
 * Usage, with the Node that node.mjs prepared: node pack.ts OUTPUT
 */
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
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
    // Names stay as they are: a stack trace in a bug report must be readable, and the code cache makes them free.
    minifySyntax: true,
    minifyWhitespace: true,
    legalComments: 'none',
    // The package `netlink` looks for its addon in the file system; in the executable it is an asset.
    alias: { 'node-gyp-build': './lib/kernel/addon.ts' },
    // yargs 18 asks where it lies, in order to find its translations; nowhere is the answer.
    define: { 'import.meta.url': '"file:///nowhere/tollgate.js"' },
    logLevel: 'warning',
  });
}

/** pkg's simple mode. By its command line, pkg forwards none of `seaConfig`; hence its inner function, version pinned. */
async function pack(script: string, output: string): Promise<void> {
  const addon = join(root, `node_modules/netlink/prebuilds/linux-${process.arch}/node.napi.node`);
  if (!existsSync(addon)) throw new Error(`Cannot pack for ${process.arch}: no ${addon}`);
  const seaConfig = {
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
  await sea.default(script, { targets: [target], useLocalNode: true, seaConfig });
}

const output = process.argv[2];
if (!output) throw new Error('Usage: node pack.ts OUTPUT');
const temporary = mkdtempSync(join(tmpdir(), 'tollgate-build-'));
try {
  const script = join(temporary, 'tollgate.js');
  await bundle(script);
  await pack(script, resolve(output));
} finally {
  rmSync(temporary, { recursive: true });
}
