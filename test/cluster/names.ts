/** DNS and the API, as pods come to them by the cluster's Services, under policy. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { before, suite, test } from 'node:test';
import { promisify } from 'node:util';
import { until } from '../support/until.ts';
import { apiService, control, dnsService } from './addresses.ts';
import type { Pod } from './api.ts';
import { defaultDeny, type KubeCluster, namespaceOf, policyOf } from './cluster.ts';
import { authorityFile } from './control.ts';
import { kubernetes } from './daemon.ts';
import { settle } from './patience.ts';

const namespace = 'names';
const run = promisify(execFile);

export function names(cluster: () => KubeCluster): void {
  suite('DNS and the API by their Services', () => {
    const pods = new Map<string, Pod>();
    const pod = (name: string): Pod => pods.get(name)!;

    /** What a program prints in the pod's network namespace; undefined where it ends with a status that says: no answer. */
    async function inside(name: string, silence: readonly number[], ...command: string[]): Promise<string | undefined> {
      try {
        const { stdout } = await run('nsenter', [`--net=${cluster().netnsPath(pod(name))}`, ...command]);
        return stdout.trim();
      } catch (error) {
        if (!silence.includes((error as { code: number }).code)) throw error;
        return undefined;
      }
    }
    const ask = (from: string, server: string, seconds: number, ...question: string[]) =>
      inside(from, [9], 'dig', `@${server}`, '+short', `+time=${seconds}`, '+tries=1', ...question);
    /** Answers of the cluster's DNS, sorted; undefined where there is none. */
    async function dig(from: string, name: string, type: string, ...more: string[]): Promise<string | undefined> {
      return (await ask(from, dnsService, 20, ...more, name, type))?.split('\n').sort().join(' ');
    }
    /** Whether DNS answers nothing, in a time that is short. */
    const isDnsShut = async (from: string) => (await ask(from, dnsService, 5, fullName, 'A')) === undefined;
    const version = (from: string): Promise<string | undefined> => {
      const server = [
        '--resolve',
        `kubernetes.default.svc:443:${apiService}`,
        'https://kubernetes.default.svc/version',
      ];
      const access = ['--cacert', authorityFile, '-H', 'Authorization: Bearer admin-token'];
      // 7: refused, 28: too late. It is the kernel that opens a connection, however busy the server is.
      return inside(from, [7, 28], 'curl', '-sS', '--connect-timeout', '5', '-m', '60', ...access, ...server);
    };

    before(async () => {
      const { api } = cluster();
      await api.apply(namespaceOf(namespace));
      await api.apply({
        apiVersion: 'v1',
        kind: 'Service',
        metadata: { namespace, name: 'web' },
        spec: {
          clusterIP: 'None',
          ipFamilyPolicy: 'RequireDualStack',
          selector: { app: 'web' },
          ports: [{ port: 80 }],
        },
      });
      const all = ['web', 'client', 'isolated'].map((app, i) => ({
        ...{ namespace, name: app, labels: { app }, node: `node${(i % 2) + 1}` },
      }));
      for (const made of await cluster().runAll(all)) pods.set(made.metadata.name, made);
    });

    const fullName = `web.${namespace}.svc.cluster.local`;
    const address = (family: 0 | 1): string => pod('web').status.podIPs![family]!.ip;

    test('a headless Service is its pods, in both families, asked by UDP and by TCP from both nodes', async t => {
      // Each family has an object of its own, which DNS hears of in its own time.
      for (const [i, type] of (['A', 'AAAA'] as const).entries())
        await until(`${type} to be known`, async () => (await dig('client', fullName, type)) === address(i as 0 | 1));
      for (const from of ['client', 'isolated']) {
        for (const more of [[], ['+tcp']]) {
          const found = [await dig(from, fullName, 'A', ...more), await dig(from, fullName, 'AAAA', ...more)];
          t.diagnostic(`${from} ${more}: ${fullName} is ${found}`);
          assert.deepEqual(found, [address(0), address(1)]);
        }
      }
    });

    test('the API is kubernetes.default, also for a pod that nobody may reach', async t => {
      await cluster().api.apply(defaultDeny(namespace, ['Ingress']));
      await settle({ client: false }, (from, patience) => cluster().reaches(pod(from), pod('isolated'), { patience }));
      assert.equal(await dig('isolated', 'kubernetes.default.svc.cluster.local', 'A'), apiService);
      const said = await until('the API to answer', () => version('isolated'));
      t.diagnostic(`kubernetes.default.svc: ${said.replace(/\s+/g, ' ')}`);
      assert.match(said, /"gitVersion"/);
    });

    test('a DNS cache of the node, whose packets are untracked, answers a pod that may ask nobody', async t => {
      const client = pod('client');
      const { host } = cluster().nodeOf(client);
      const cache = '169.254.20.10';
      await cluster().api.apply(defaultDeny(namespace));
      await until('the API to be shut', async () => (await version('client')) === undefined);
      host.write('/run/Corefile', `.:53 {\n    bind ${cache}\n    errors\n    forward . ${dnsService}\n}\n`);
      const rules = `table inet nodelocal {
        chain in { type filter hook prerouting priority raw; ip daddr ${cache} udp dport 53 notrack; ip daddr ${cache} tcp dport 53 notrack; }
        chain out { type filter hook output priority raw; ip saddr ${cache} udp sport 53 notrack; ip saddr ${cache} tcp sport 53 notrack; }
      }`;
      await host.must(['nft', '-f', '-'], { input: rules });
      await host.sh(`ip addr add ${cache}/32 dev lo`);
      const child = host.spawn([`${kubernetes}/coredns`, '-conf', '/run/Corefile']);
      try {
        const askCache = (...more: string[]) => ask('client', cache, 20, ...more, fullName, 'A');
        await until('the cache to answer', async () => (await askCache()) === address(0));
        assert.equal(await askCache('+tcp'), address(0));
        const tracked = await host.sh(`conntrack -L -d ${cache} 2>/dev/null`);
        t.diagnostic(`${cache} says ${address(0)} by UDP and TCP; conntrack has "${tracked.trim()}" of it`);
        assert.equal(tracked.trim(), '');
        assert.ok(await isDnsShut('client'), 'the cluster itself stays out of reach');
      } finally {
        child.kill('SIGKILL');
        await host.sh(`ip addr del ${cache}/32 dev lo; nft delete table inet nodelocal`);
        await cluster().api.delete(defaultDeny(namespace));
      }
    });

    test('egress to kube-dns alone: names are known, and the API is not reached', async t => {
      const to = [
        {
          namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'kube-system' } },
          podSelector: { matchLabels: { 'k8s-app': 'kube-dns' } },
        },
      ];
      const ports = ['UDP', 'TCP'].map(protocol => ({ port: 53, protocol }));
      const egress = [{ to, ports }];
      await until('the policies before to be gone', () => version('isolated'));
      await cluster().api.apply(policyOf(namespace, 'dns', { podSelector: {}, policyTypes: ['Egress'], egress }));
      await until('the API to be shut', async () => (await version('isolated')) === undefined);
      const found = [await dig('isolated', fullName, 'A'), await dig('isolated', fullName, 'A', '+tcp')];
      t.diagnostic(`${fullName} is ${found}; the API does not answer`);
      assert.deepEqual(found, [address(0), address(0)]);
      assert.equal(await version('isolated'), undefined);
    });

    test("egress by ipBlock of the API server's own address opens kubernetes.default, and shuts DNS", async () => {
      await cluster().api.deleteAll(`/apis/networking.k8s.io/v1/namespaces/${namespace}/networkpolicies`);
      const egress = [{ to: [{ ipBlock: { cidr: `${control.v4}/32` } }], ports: [{ port: 6443 }] }];
      await cluster().api.apply(policyOf(namespace, 'api', { podSelector: {}, policyTypes: ['Egress'], egress }));
      await until('DNS to be shut', () => isDnsShut('isolated'));
      assert.match(await until('the API to answer', () => version('isolated')), /"gitVersion"/);
      assert.ok(await isDnsShut('isolated'));
      await cluster().api.deleteAll(`/apis/networking.k8s.io/v1/namespaces/${namespace}/networkpolicies`);
    });
  });
}
