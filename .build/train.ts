/**
 * Makes the code cache of the plugin from what an ADD and a DEL run of it: one of all its functions is nearly twice as
 * large, and every call of a runtime reads it whole before its first line. What they did not run is compiled when it is wanted.
 *
 * Usage, in a network namespace of its own, with the flags of the executable: node train.ts FOLDER
 * FOLDER: holds `plugin.js` and the assets; gets `plugin.cache`.
 */
import { spawn } from 'node:child_process';
import fs, { mkdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { setTimeout as pause } from 'node:timers/promises';
import type { Script } from 'node:vm';
import type { plugin } from '../lib/pod/plugin.ts';
import { compile } from './part.ts';

const folder = process.argv[2]!;
const text = readFileSync(`${folder}/plugin.js`, 'latin1');
const node = `${folder}/trained`;
/** Milliseconds, with room for a machine ten times slower. */
const DEADLINE = 10_000;

const hasIpv6 = fs.existsSync('/proc/net/if_inet6');

const config = JSON.stringify({
  ...{ cniVersion: '1.1.0', name: 'training', type: 'tollgate', ipMasq: true },
  ...{ stateDir: `${node}/state`, runDir: `${node}/run`, policies: `${node}/policies` },
  ipam: {
    type: 'tollgate-ipam',
    ranges: [[{ subnet: '10.0.0.0/24' }], ...(hasIpv6 ? [[{ subnet: 'fd00::/64' }]] : [])],
  },
  args: { cni: { labels: [{ key: 'app', value: 'web' }] } },
});

const policy = JSON.stringify({
  apiVersion: 'networking.k8s.io/v1',
  kind: 'NetworkPolicy',
  metadata: { namespace: 'shop', name: 'web' },
  spec: {
    podSelector: { matchLabels: { app: 'web' } },
    policyTypes: ['Ingress', 'Egress'],
    ingress: [{ from: [{ podSelector: { matchLabels: { app: 'web' } } }], ports: [{ port: 80 }] }],
    egress: [{ to: [{ ipBlock: { cidr: '192.0.2.0/24' } }] }],
  },
});

/** As in the executable, but for the call's stdin and stdout. */
const modules: Readonly<Record<string, unknown>> = {
  'node:sea': {
    isSea: () => true,
    getRawAsset: (name: string) => new Uint8Array(readFileSync(`${folder}/${name}`)).buffer,
  },
  'node:fs': {
    ...fs,
    readFileSync: (path: string | number, ...more: []) => (path === 0 ? config : readFileSync(path, ...more)),
    writeSync: (fd: number, data: string & Uint8Array, ...more: []) =>
      fd === 1 ? process.stdout.write(data) && data.length : fs.writeSync(fd, data, ...more),
  },
};

const ownRequire = createRequire(import.meta.url);

/** @returns the plugin, of this script's code */
function load(script: Script): typeof plugin {
  const module = { exports: {} as { readonly plugin: typeof plugin } };
  const require = (name: string): unknown => modules[name] ?? ownRequire(name);
  script.runInThisContext()(module.exports, require, module, process.execPath, '/');
  return module.exports.plugin;
}

/** The network namespace of a process that sleeps. */
async function podNetns(): Promise<string> {
  const sleeper = spawn('unshare', ['--net', 'sleep', '60'], { stdio: 'ignore' });
  sleeper.unref();
  process.on('exit', () => sleeper.kill('SIGKILL'));
  const path = `/proc/${sleeper.pid}/ns/net`;
  for (
    const end = performance.now() + DEADLINE;
    readlinkSync(path) === readlinkSync('/proc/self/ns/net');
    await pause(5)
  )
    if (performance.now() > end || sleeper.exitCode !== null) throw new Error('no second network namespace');
  return path;
}

async function call(run: typeof plugin, verb: 'ADD' | 'DEL', pod: string, netns: string): Promise<void> {
  const args = `IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=${pod}`;
  Object.assign(process.env, { CNI_COMMAND: verb, CNI_CONTAINERID: pod, CNI_NETNS: netns, CNI_IFNAME: 'eth0' });
  Object.assign(process.env, { CNI_PATH: '/opt/cni/bin', CNI_ARGS: args });
  const code = await run('tollgate', () => Promise.reject(new Error('no agent here')), undefined);
  if (code !== 0) throw new Error(`the ${verb} of ${pod} failed`);
}

mkdirSync(`${node}/policies`, { recursive: true });
writeFileSync(`${node}/policies/web.json`, policy);
// V8 knows the same text again, with all that was compiled of it; this one it does not.
const other = load(compile('plugin', `${text}\n`));
await call(other, 'ADD', 'first', await podNetns());
// On a node that has pods, as most calls find it.
const script = compile('plugin', text);
const run = load(script);
await call(run, 'ADD', 'second', await podNetns());
await call(run, 'DEL', 'second', '');
writeFileSync(`${folder}/plugin.cache`, script.createCachedData());
