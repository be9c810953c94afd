/** `tollgate connectivity test` on a node with an uplink: all is well where it is, and each fault is found and named. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import test, { suite } from 'node:test';
import { startAgent } from '../support/agent-process.ts';
import { runDir, startHost, stateDir, tollgate } from '../support/cni.ts';
import type { Host } from '../support/host.ts';
import { until } from '../support/until.ts';

const bin = '/run/work/bin';
const conf = '/run/work/net.d';
const policies = '/run/work/policies';
const places = ['--bin-dir', bin, '--conf-dir', conf];

const conflist = {
  cniVersion: '1.0.0',
  name: 'tried',
  plugins: [
    {
      type: 'tollgate',
      ...{ stateDir, runDir, policies },
      ipam: { type: 'tollgate-ipam', ranges: [[{ subnet: '10.77.0.0/24' }], [{ subnet: 'fd77::/64' }]] },
      capabilities: { labels: true, portMappings: true },
    },
  ],
};

/** With an uplink, whose other end is a network namespace with a web server. */
async function start(): Promise<Host> {
  const host = await startHost();
  await host.must([tollgate, 'install', '--no-conflist', ...places, '--run-dir', runDir]);
  await host.sh(`mkdir -p ${policies} ${conf}; ip netns add beyond
    ip link add uplink type veth peer name far netns beyond
    ip addr add 192.0.2.1/24 dev uplink; ip -6 addr add 2001:db8::1/64 dev uplink nodad; ip link set uplink up
    ip -n beyond addr add 192.0.2.2/24 dev far; ip -n beyond link set far up
    ip -n beyond route add 10.77.0.0/24 via 192.0.2.1; ip route add default via 192.0.2.2`);
  host.write(`${conf}/10-tried.conflist`, JSON.stringify(conflist));
  // The kernel tells a link's state, and gives it its own address, in its own time.
  await until('the uplink to be up', async () =>
    /uplink@.* state UP [\s\S]*^fe80::\/64 dev uplink /m.test(await host.sh('ip -o link; ip -6 route')),
  );
  return host;
}

interface Tested {
  readonly ok: boolean;
  readonly checks: readonly {
    readonly name: string;
    readonly family: number | null;
    readonly ok: boolean;
    readonly got: string;
  }[];
  readonly causes: readonly string[];
  readonly notTried: readonly string[];
}

const what = (host: Host) =>
  host.sh(
    'ip -o link; ip route; ip -6 route; nft list tables; find /run/work /run/test -type f | grep -v -e lock -e /last/ -e /released/ -e cleaned | sort',
  );

test('on a node that is well all checks are fine, in both families, and nothing is left of them', async () => {
  using host = await start();
  const before = await what(host);
  const { ok, checks, causes, notTried } = JSON.parse(
    await host.must([tollgate, 'connectivity', 'test', ...places, '-o', 'json']),
  ) as Tested;
  assert.deepEqual({ ok, causes }, { ok: true, causes: [] });
  assert.match(notTried.join('\n'), /^the way to the outside: --outside [^\n]*$/);
  for (const family of [4, 6])
    for (const name of [
      'pod to pod',
      'node to pod',
      'pod to a hostPort of the node',
      'what a policy allows',
      'what a policy denies',
      'Admin denies what a policy allows',
      'Admin accepts what a policy denies',
      'Admin passes to what a policy allows',
      'Baseline denies where no policy is',
      'Baseline comes after a policy',
    ])
      assert.ok(
        checks.some(check => check.name === name && check.family === family),
        `IPv${family}: ${name}`,
      );
  assert.equal(await what(host), before);
});

test('the way to the outside is tried where one is named', async () => {
  using host = await start();
  // It logs each request.
  const server = 'exec ip netns exec beyond python3 -m http.server --bind 192.0.2.2 80 >/dev/null 2>&1';
  host.keep(host.spawn(['sh', '-c', server]));
  await until('the web server to listen', async () =>
    (await host.sh('ip netns exec beyond ss -Hltn')).includes(':80 '),
  );
  const said = await host.must([tollgate, 'connectivity', 'test', ...places, '--outside', '192.0.2.2:80']);
  assert.match(said, /✓ IPv4 {2}client → outside/);
  assert.match(said, /All \d+ checks are as they should be/);
});

interface Fault {
  readonly what: string;
  /** Once the pods are plugged in. */
  readonly script: string;
  readonly failed: RegExp;
  readonly cause: RegExp;
}

const faults: readonly Fault[] = [
  {
    what: 'another program drops what is forwarded',
    script: `nft 'add table ip other; add chain ip other forward { type filter hook forward priority 0; policy drop; }'`,
    failed: /pod to pod/,
    cause: /chain forward|other/,
  },
  {
    what: 'the MTU of the node’s end is less than the pod’s',
    script: `for l in $(ip -o link | grep -o ' tg[0-9a-z]*'); do ip link set $l mtu 1280; done`,
    failed: /full packets/,
    cause: /full ones do not \(\d+ bytes pass\): an MTU on the way .*"mtu" in the conflist/,
  },
  {
    what: 'forwarding is off',
    script: 'echo 0 >/proc/sys/net/ipv4/ip_forward',
    failed: /pod to pod/,
    cause: /ip_forward/,
  },
  {
    what: 'a route to a pod is missing',
    script: 'ip route flush root 10.77.0.0/24',
    failed: /pod to pod/,
    cause: /route to 10\.77\.0\.\d+ .*missing/,
  },
  {
    what: 'the gate is flushed',
    script: 'nft flush table inet tollgate',
    failed: /what a policy denies/,
    cause: /table|gate/,
  },
  {
    what: 'the policies of the cluster are not heard of',
    // Each is a line of the test's own file.
    script: `sed -i /ClusterNetworkPolicy/d ${policies}/tollgate-connectivity.yaml
      ${tollgate} policy apply --state-dir ${stateDir} --run-dir ${runDir} --policies ${policies}`,
    failed: /Admin denies[\s\S]*Admin accepts[\s\S]*Baseline denies/,
    cause: /NetworkPolicies hold and tiers do not/,
  },
];

const worker = [
  ...[tollgate, 'agent', '--no-kubernetes'],
  ...['--run-dir', runDir, '--state-dir', stateDir, '--policies', policies],
];
const ofWorker = ({ checks }: Tested) => checks.find(({ name }) => name === 'the warm process takes calls in');

for (const flows of [['--flows'], []])
  test(`a worker that lives takes a call in, and has no status ${flows.length > 0 ? 'with' : 'without'} --flows`, async () => {
    using host = await start();
    using _agent = await startAgent(host, [...worker, ...flows]);
    const tested = JSON.parse(await host.must([tollgate, 'connectivity', 'test', ...places, '-o', 'json'])) as Tested;
    assert.equal(ofWorker(tested)?.ok, true, JSON.stringify(tested));
    const { exit, stderr } = await host.run([tollgate, 'status', '--run-dir', runDir]);
    assert.equal(exit, 3);
    assert.match(stderr, /^tollgate: Cannot tell what an agent of Kubernetes knows: the warm process here is a worker/);
  });

// Each waits for what does not answer, and computes little.
suite('a fault is found, and its likely cause told', { concurrency: true }, () => {
  for (const { what: name, script, failed, cause } of faults)
    test(name, async () => {
      using host = await start();
      const child = host.spawn([tollgate, 'connectivity', 'test', ...places, '--pause', '-o', 'json']);
      const stdout: string[] = [];
      child.stdout!.setEncoding('utf8').on('data', (text: string) => stdout.push(text));
      let said = '';
      child.stderr!.setEncoding('utf8').on('data', (text: string) => {
        said += text;
      });
      await until('the pods to be plugged in', () => {
        assert.equal(child.exitCode, null, said);
        return said.includes('The pods are plugged in.');
      });
      await host.sh(script);
      child.stdin!.end('\n');
      const [exit] = (await once(child, 'close')) as [number];
      assert.equal(exit, 1, stdout.join(''));
      const { checks, causes } = JSON.parse(stdout.join('')) as Tested;
      assert.match(
        checks
          .filter(({ ok }) => !ok)
          .map(each => each.name)
          .join('\n'),
        failed,
      );
      assert.match(causes.join('\n'), cause);
    });

  for (const [what, signal] of Object.entries({ dead: 'SIGKILL', stopped: 'SIGSTOP' } as const))
    test(`a warm process that is ${what} is found, though calls are carried out without it`, async () => {
      using host = await start();
      using agent = await startAgent(host, worker);
      agent.child.kill(signal);
      const { exit, stdout } = await host.run([tollgate, 'connectivity', 'test', ...places, '-o', 'json']);
      assert.equal(exit, 1, stdout);
      const tested = JSON.parse(stdout) as Tested;
      assert.deepEqual(
        tested.checks.filter(({ ok }) => !ok),
        [ofWorker(tested)],
      );
      assert.match(ofWorker(tested)!.got, /it does not take a call in at .*cni\.sock/);
      assert.match(tested.causes.join('\n'), /dead, stopped.*start it again/);
    });
});

test('a pod that cannot be plugged in is an error with what the plugin says', async () => {
  using host = await start();
  host.write(`${conf}/10-tried.conflist`, JSON.stringify(conflist).replace('10.77.0.0/24', '10.77.0.0/31'));
  const { exit, stderr } = await host.run([tollgate, 'connectivity', 'test', ...places]);
  assert.equal(exit, 3);
  assert.match(stderr, /ADD by tollgate failed: /);
  assert.equal((await host.sh('ip -o link | grep -c tg || true')).trim(), '0');
});

test('a signal takes pods and policies away', async () => {
  using host = await start();
  const before = await what(host);
  const child = host.spawn([tollgate, 'connectivity', 'test', ...places, '--pause']);
  await until('a pod to be plugged in', async () => (await host.sh('ip -o link')).includes('tg'));
  child.kill('SIGINT');
  await once(child, 'close');
  assert.equal(await what(host), before);
});

test('JUnit for a pipeline', async () => {
  using host = await start();
  const xml = await host.must([tollgate, 'connectivity', 'test', ...places, '-o', 'junit']);
  assert.match(xml, /<testsuite name="tollgate connectivity" tests="\d+" failures="0">/);
});

const refused: readonly { readonly what: string; readonly setup: string; readonly said: RegExp }[] = [
  { what: 'no network', setup: `rm ${conf}/*`, said: /there is none in .*tollgate install/ },
  {
    what: 'another’s network first',
    setup: `echo '{"name":"b","type":"bridge"}' >${conf}/05-b.conf`,
    said: /05-b\.conf, which is another's/,
  },
  {
    what: 'a node of a cluster',
    setup: `sed -i 's/"type":"tollgate",/"type":"tollgate","enforcer":"agent",/' ${conf}/*`,
    said: /node of a cluster/,
  },
];

suite('where nothing can be tried it says why', () => {
  for (const { what: name, setup, said } of refused)
    test(name, async () => {
      using host = await start();
      await host.sh(setup);
      const { exit, stderr } = await host.run([tollgate, 'connectivity', 'test', ...places]);
      assert.equal(exit, 3);
      assert.match(stderr, said);
    });
});
