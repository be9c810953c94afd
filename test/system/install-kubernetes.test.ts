/** What runs the agent on a cluster's nodes: the files of conf/kubernetes, and what `install --kubernetes` makes of flags. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { parse, parseAllDocuments } from 'yaml';
import { UsageError } from '../../lib/cli/command.ts';
import { type KubernetesGiven, kubernetesManifests } from '../../lib/cli/install/kubernetes.ts';
import { inClusterCredentials } from '../../lib/kube/credentials.ts';
import { conflistText } from '../../lib/node/conflist.ts';
import manifest from '../../package.json' with { type: 'json' };
import { type Json, tollgate } from '../support/cni.ts';
import { run } from '../support/netns.ts';

const folder = join(import.meta.dirname, '../../conf/kubernetes');
const read = (name: string): string => readFileSync(join(folder, name), 'utf8');
const resources = ['serviceaccount.yaml', 'rbac.yaml', 'daemonset.yaml'];

const usual: KubernetesGiven = {
  ...{ binDir: '/opt/cni/bin', confDir: '/etc/cni/net.d', runDir: '/run/tollgate' },
  ...{ ipMasq: true, takeOver: false },
  ...{ flows: false, flowAccounting: false, withCrds: false, cel: true },
};

interface Container {
  readonly image: string;
  readonly command: readonly string[];
  readonly volumeMounts: readonly {
    readonly name: string;
    readonly mountPath: string;
    readonly mountPropagation?: string;
  }[];
  readonly securityContext?: { readonly privileged?: boolean };
}

interface PodSpec {
  readonly hostNetwork: boolean;
  readonly hostPID: boolean;
  readonly priorityClassName: string;
  readonly serviceAccountName: string;
  readonly tolerations: readonly Json[];
  readonly initContainers: readonly [Container];
  readonly containers: readonly [Container];
  readonly volumes: readonly {
    readonly name: string;
    readonly hostPath: { readonly path: string; readonly type: string };
  }[];
}

interface Manifest {
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace?: string };
  readonly data?: Readonly<Record<string, string>>;
  readonly rules?: readonly { readonly resources: readonly string[]; readonly verbs: readonly string[] }[];
  readonly spec: { readonly template: { readonly spec: PodSpec } };
}

const manifestsOf = async (more: Partial<KubernetesGiven> = {}): Promise<readonly Manifest[]> =>
  parseAllDocuments(await kubernetesManifests({ ...usual, ...more })).map(document => document.toJS() as Manifest);

const podOf = (manifests: readonly Manifest[]): PodSpec =>
  manifests.find(({ kind }) => kind === 'DaemonSet')!.spec.template.spec;

/** A volume's path on the node, which is its path in each container that has it. */
function pathsOf(pod: PodSpec): Readonly<Record<string, string>> {
  const paths = Object.fromEntries(pod.volumes.map(({ name, hostPath }) => [name, hostPath.path]));
  for (const { name, mountPath } of [...pod.initContainers, ...pod.containers].flatMap(
    ({ volumeMounts }) => volumeMounts,
  ))
    assert.equal(mountPath, paths[name], `${name} is elsewhere in the container than on the node`);
  return paths;
}

describe('The manifests', () => {
  test('are those of conf/kubernetes to the letter where nothing is said', async () => {
    assert.equal(await kubernetesManifests(usual), resources.map(read).join('---\n'));
    assert.deepEqual((parse(read('kustomization.yaml')) as { resources: string[] }).resources, resources);
  });

  test('come out of the executable, too, and all of its files are there', () => {
    const { status, stdout, stderr } = run(tollgate, ['install', '--kubernetes']);
    assert.equal(status, 0, stderr);
    assert.equal(stdout, resources.map(read).join('---\n'));
    assert.deepEqual(
      readdirSync(folder).sort(),
      ['10-tollgate.conflist', 'kustomization.yaml', 'tollgate-agent.service', ...resources].sort(),
    );
  });

  test('mean the same when they are written anew', async () => {
    const image = 'registry.example/tollgate:1';
    const [before, after] = [await kubernetesManifests(usual), await kubernetesManifests({ ...usual, image })];
    assert.equal(after.replaceAll(image, `docker.io/library/tollgate:${manifest.version}`), before);
  });

  test('run what this release is, on every node, with what the node’s network takes', async () => {
    const pod = podOf(await manifestsOf());
    const [agent] = pod.containers;
    assert.deepEqual([pod.hostNetwork, pod.hostPID, pod.priorityClassName], [true, true, 'system-node-critical']);
    assert.deepEqual(pod.tolerations, [{ operator: 'Exists' }]);
    assert.equal(agent.securityContext?.privileged, true);
    assert.deepEqual(
      [agent.image, pod.initContainers[0].image],
      Array(2).fill(`docker.io/library/tollgate:${manifest.version}`),
    );
    assert.equal(agent.volumeMounts.find(({ name }) => name === 'run')?.mountPropagation, 'HostToContainer');
    assert.deepEqual(pathsOf(pod), {
      ...{
        run: '/run/tollgate',
        state: '/var/lib/tollgate',
        conf: '/etc/cni/net.d',
        bin: '/opt/cni/bin',
        cni: '/var/lib/cni',
      },
    });
  });

  test('move a folder everywhere at once', async () => {
    const folders = { binDir: '/usr/lib/cni', confDir: '/etc/net.d', runDir: '/run/tg', stateDir: '/srv/tg' };
    const pod = podOf(await manifestsOf(folders));
    const { run: runDir, state, conf, bin, cni } = pathsOf(pod);
    assert.deepEqual({ binDir: bin, confDir: conf, runDir, stateDir: state, cni }, { ...folders, cni: '/var/lib/cni' });
    assert.deepEqual(pod.initContainers[0].command.slice(2), [
      '--no-conflist',
      '--bin-dir=/usr/lib/cni',
      '--run-dir=/run/tg',
    ]);
    assert.deepEqual(pod.containers[0].command.slice(2), [
      '--conf-dir=/etc/net.d',
      '--run-dir=/run/tg',
      '--state-dir=/srv/tg',
    ]);
  });

  test('hand the agent what is said of the network, by options that it has', async () => {
    const { command } = podOf(await manifestsOf({ mtu: 1400, ipMasq: false, takeOver: true })).containers[0];
    assert.deepEqual(command.slice(5), ['--mtu=1400', '--no-ip-masq', '--take-over']);
    const help = run(tollgate, ['agent', '--help']).stdout;
    for (const word of command.slice(2)) {
      const [, name] = /^--(?:no-)?([a-z-]+)/.exec(word) ?? [];
      assert.ok(name !== undefined && help.includes(`--${name} `), word);
    }
  });

  test('define ClusterNetworkPolicy before all else where that is asked for, to the letter or without CEL', async () => {
    const upstream = read('../network-policy-api/clusternetworkpolicies.yaml');
    const [whole, plain] = await Promise.all(
      [true, false].map(cel => kubernetesManifests({ ...usual, withCrds: true, cel })),
    );
    assert.equal(whole, [upstream, await kubernetesManifests(usual)].join('---\n'));
    const [definition] = parseAllDocuments(plain!).map(document => document.toJS() as unknown);
    const without = (text: unknown) =>
      JSON.stringify(text, (key, value: unknown) => (key === 'x-kubernetes-validations' ? undefined : value));
    assert.equal(JSON.stringify(definition), without(parseAllDocuments(upstream)[0]!.toJS()));
    assert.doesNotMatch(plain!, /x-kubernetes-validations/);
  });

  test('give the API server’s address by the environment that the agent reads', async () => {
    for (const [text, server] of [
      ['192.0.2.10:6443', 'https://192.0.2.10:6443'],
      ['[2001:db8::10]:6443', 'https://[2001:db8::10]:6443'],
      ['api.example:443', 'https://api.example:443'],
    ] as const) {
      const map = (await manifestsOf({ apiServer: text })).find(({ kind }) => kind === 'ConfigMap');
      assert.equal(map?.data?.['TOLLGATE_API_SERVER'], server);
      // Whatever else is missing here, the address is understood.
      assert.throws(() => inClusterCredentials(map!.data!, '/nonexistent'), /service account's token/);
    }
    for (const text of ['192.0.2.10', 'https://x:1', '2001:db8::1:6443', 'x:0', 'x:70000', ''])
      await assert.rejects(kubernetesManifests({ ...usual, apiServer: text }), UsageError, text);
  });

  test('refuse to leave CEL out of a definition that is not printed', () =>
    assert.rejects(kubernetesManifests({ ...usual, cel: false }), UsageError));

  test('refuse an image without a name, and an MTU that no network takes', async () => {
    await assert.rejects(kubernetesManifests({ ...usual, image: '' }), UsageError);
    for (const mtu of ['1', '67', '65536'])
      for (const command of ['install', 'agent']) {
        const { status, stderr } = run(tollgate, [
          command,
          ...(command === 'install' ? ['--kubernetes'] : []),
          `--mtu=${mtu}`,
        ]);
        assert.equal(status, 2, stderr);
        assert.match(stderr, /whole number from 68 to 65535, or 0/);
      }
    assert.equal(run(tollgate, ['install', '--kubernetes', '--mtu=0']).status, 0);
  });

  test('refuse a folder that no node can mount', () =>
    assert.rejects(
      kubernetesManifests({ ...usual, stateDir: 'state' }),
      /Cannot mount "state": give an absolute path/,
    ));

  test('grant what the agent asks for, and no more', async () => {
    const rules = (await manifestsOf()).find(({ kind }) => kind === 'ClusterRole')!.rules!;
    const granted = rules.flatMap(({ resources: names, verbs }) =>
      names.flatMap(name => verbs.map(verb => `${verb} ${name}`)),
    );
    const watched = [
      ...['adminnetworkpolicies', 'baselineadminnetworkpolicies', 'clusternetworkpolicies'],
      ...['namespaces', 'networkpolicies', 'nodes', 'pods'],
    ];
    assert.deepEqual(granted.sort(), [
      'get pods',
      ...watched.map(name => `list ${name}`),
      'patch nodes/status',
      ...[...watched, 'customresourcedefinitions'].sort().map(name => `watch ${name}`),
    ]);
  });
});

test('the conflist of conf/kubernetes is the one that the agent writes', () => {
  const owner = { enforcer: 'agent', stateDir: '/var/lib/tollgate', policies: '/etc/tollgate/policies' };
  const rest = { nflogGroup: 7467, enforceEgressToNode: false, established: 'cut' } as const;
  const written = conflistText({ owner, runDir: '/run/tollgate', ipMasq: true, ...rest });
  assert.deepEqual(JSON.parse(read('10-tollgate.conflist')), JSON.parse(written));
});

test('the unit of systemd starts the agent with options that it has', () => {
  const [, words = ''] = /^ExecStart=\S+ agent (.*)$/m.exec(read('tollgate-agent.service')) ?? [];
  const help = run(tollgate, ['agent', '--help']).stdout;
  const names = words.split(' ').filter(word => word.startsWith('--'));
  assert.equal(names.length, 4);
  for (const name of names) assert.ok(help.includes(`${name} `), name);
});
