import { getRawAsset, isSea } from 'node:sea';
import { command, exit, normalPath, outputOption, print, printJson, UsageError } from '../command.ts';
import { lackLines, probeNode } from '../verify.ts';
import { conflistFor } from './conflist.ts';
import { placeDropIns } from './drop-ins.ts';
import { numbered, stepsAfterInstall } from './first-steps.ts';
import {
  kubernetesManifests,
  kubernetesOptions,
  refuseOptionsOfMachine,
  refuseOptionsOfManifests,
} from './kubernetes.ts';
import { placeConflist, placeExecutables } from './place.ts';

/** @throws UsageError where no launcher could call an agent there: struct sockaddr_un has room for 107 bytes */
function checkRunDir(path: string): string {
  if (path.startsWith('/') && !path.includes('\n') && Buffer.byteLength(`${path}/cni.sock`) <= 107) return path;
  throw new UsageError(`Cannot use ${JSON.stringify(path)} as run-dir: give an absolute path of at most 98 bytes`);
}

export const install = command(
  'install',
  'Put the plugin where container runtimes look for it',
  parser =>
    parser
      .options({
        'bin-dir': {
          type: 'string',
          default: '/opt/cni/bin',
          requiresArg: true,
          coerce: normalPath,
          describe: 'For the launchers tollgate and tollgate-ipam, and the executable, tollgate-node',
        },
        'run-dir': {
          type: 'string',
          default: '/run/tollgate',
          requiresArg: true,
          coerce: normalPath,
          describe: 'Where launchers look for an agent: "runDir" of the networks',
        },
        'conf-dir': {
          type: 'string',
          default: '/etc/cni/net.d',
          requiresArg: true,
          coerce: normalPath,
          describe: 'For the conflist',
        },
        conflist: {
          type: 'boolean',
          default: true,
          describe: 'Write a conflist; --no-conflist on a Kubernetes node, where the agent writes it once it is ready',
        },
        force: {
          type: 'boolean',
          default: false,
          describe: 'Write the conflist also where there is one of ours already, which is lost then',
        },
        'drop-ins': {
          type: 'boolean',
          default: false,
          describe: 'Tell systemd-networkd and NetworkManager, where they run, to leave our links alone',
        },
        ...kubernetesOptions,
        ...outputOption,
      })
      .example('sudo $0 install', 'again for an upgrade: pods that are plugged in stay as they are')
      .example('sudo $0 install --bin-dir /usr/lib/cni', 'where Debian’s podman looks')
      .example('$0 install --kubernetes --image registry.example/tollgate:0.1.0', 'for a cluster: | kubectl apply -f -')
      .example('$0 install --kubernetes --with-crds', 'with ClusterNetworkPolicy, where the cluster has it not yet')
      .epilog(
        'Executables are replaced in one piece, while others run them. A conflist that is there already stays as it is.',
      ),
  async options => {
    if (options.kubernetes) {
      refuseOptionsOfMachine(options);
      print(await kubernetesManifests({ ...options, runDir: checkRunDir(options.runDir) }));
      return exit.yes;
    }
    refuseOptionsOfManifests(options);
    if (!isSea())
      throw new Error(
        'Cannot install a script: build the executable with ./build.sh, and let dist/tollgate install itself',
      );
    const runDir = checkRunDir(options.runDir);
    const launcher = new Uint8Array(getRawAsset('launcher'));
    const executables = placeExecutables({ source: process.execPath, launcher, runDir }, options.binDir);
    const conflist = options.conflist ? placeConflist(options.confDir, conflistFor(runDir), options.force) : undefined;
    const dropIns = options.dropIns ? placeDropIns() : [];
    const warnings = probeNode();
    const next = conflist
      ? stepsAfterInstall(options.confDir, conflist.path)
      : ['`tollgate agent --conf-dir` writes the conflist, once pods can be plugged in.'];
    if (options.output === 'json') printJson({ executables, conflist, dropIns, warnings, next });
    else {
      for (const { path, isNew } of executables) print(`${isNew ? 'wrote' : 'was there:'} ${path}`);
      if (conflist)
        print(conflist.isNew ? `wrote ${conflist.path}` : `left as it is: ${conflist.path} (${conflist.why})`);
      for (const path of dropIns) print(`wrote ${path}`);
      if (warnings.length > 0)
        print(
          `\nThis node:\n${lackLines(warnings)
            .map(line => `  ${line}`)
            .join('\n')}`,
        );
      print(`\nNext:\n${numbered(next)}`);
    }
    return exit.yes;
  },
);
