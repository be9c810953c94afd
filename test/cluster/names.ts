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

const namespace = 'names';
const run = promisify(execFile);

export function names(cluster: () => KubeCluster): void {
  suite('DNS and the API by their Services', () => {
    const pods = new Map<string, Pod>();
    const pod = (name: string): Pod => pods.get(name)!;

    /** What a program prints in the pod's network namespace; undefined where it fails. */
    async function inside(name: string, ...command: string[]): Promise<string | undefined> {
      try {
        const { stdout } = await run('nsenter', [`--net=${cluster().netnsPath(pod(name))}`, ...command]);
        return stdout.trim();
      } catch {
        return undefined;
      }
    }
    /** Answers of the cluster's DNS, sorted; undefined where there is none. */
    async function dig(from: string, name: string, type: string, ...more: string[]): Promise<string | undefined> {
      const said = await inside(from, 'dig', `@${dnsService}`, '+short', '+time=3', '+tries=1', ...more, name, type);
      return said?.split('\n').sort().join(' ');
    }
    const version = (from: string): Promise<string | undefined> => {
      const server = [
        '--resolve',
        `kubernetes.default.svc:443:${apiService}`,
        'https://kubernetes.default.svc/version',
      ];
      const access = ['--cacert', authorityFile, '-H', 'Authorization: Bearer admin-token'];
      return inside(from, 'curl', '-sS', '-m', '5', ...access, ...server);
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
      await until('the name to be known', async () => (await dig('client', fullName, 'A')) === address(0), 60_000);
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
      assert.equal(await dig('isolated', 'kubernetes.default.svc.cluster.local', 'A'), apiService);
      const said = await until('the API to answer', () => version('isolated'), 60_000);
      t.diagnostic(`kubernetes.default.svc: ${said.replace(/\s+/g, ' ')}`);
      assert.match(said, /"gitVersion"/);
    });

    test('a DNS cache of the node, whose packets are untracked, answers a pod that may ask nobody', async t => {
      const client = pod('client');
      const { host } = cluster().nodeOf(client);
      const cache = '169.254.20.10';
      await cluster().api.apply(defaultDeny(namespace));
      await until('the API to be shut', async () => (await version('client')) === undefined, 60_000);
      host.write('/run/Corefile', `.:53 {\n    bind ${cache}\n    errors\n    forward . ${dnsService}\n}\n`);
      const rules = `table inet nodelocal {
        chain in { type filter hook prerouting priority raw; ip daddr ${cache} udp dport 53 notrack; ip daddr ${cache} tcp dport 53 notrack; }
        chain out { type filter hook output priority raw; ip saddr ${cache} udp sport 53 notrack; ip saddr ${cache} tcp sport 53 notrack; }
      }`;
      await host.must(['nft', '-f', '-'], { input: rules });
      await host.sh(`ip addr add ${cache}/32 dev lo`);
      const child = host.spawn([`${kubernetes}/coredns`, '-conf', '/run/Corefile']);
      try {
        const ask = (...more: string[]) =>
          inside('client', 'dig', `@${cache}`, '+short', '+time=3', '+tries=1', ...more, fullName, 'A');
        await until('the cache to answer', async () => (await ask()) === address(0), 60_000);
        assert.equal(await ask('+tcp'), address(0));
        const tracked = await host.sh(`conntrack -L -d ${cache} 2>/dev/null`);
        t.diagnostic(`${cache} says ${address(0)} by UDP and TCP; conntrack has "${tracked.trim()}" of it`);
        assert.equal(tracked.trim(), '');
        assert.equal(await dig('client', fullName, 'A'), undefined, 'the cluster itself stays out of reach');
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
      await cluster().api.apply(policyOf(namespace, 'dns', { podSelector: {}, policyTypes: ['Egress'], egress }));
      await until('the API to be shut', async () => (await version('isolated')) === undefined, 60_000);
      const found = [await dig('isolated', fullName, 'A'), await dig('isolated', fullName, 'A', '+tcp')];
      t.diagnostic(`${fullName} is ${found}; the API does not answer`);
      assert.deepEqual(found, [address(0), address(0)]);
      assert.equal(await version('isolated'), undefined);
    });

    test("egress by ipBlock of the API server's own address opens kubernetes.default, and shuts DNS", async () => {
      await cluster().api.deleteAll(`/apis/networking.k8s.io/v1/namespaces/${namespace}/networkpolicies`);
      const egress = [{ to: [{ ipBlock: { cidr: `${control.v4}/32` } }], ports: [{ port: 6443 }] }];
      await cluster().api.apply(policyOf(namespace, 'api', { podSelector: {}, policyTypes: ['Egress'], egress }));
      await until('DNS to be shut', async () => (await dig('isolated', fullName, 'A')) === undefined, 60_000);
      assert.match((await until('the API to answer', () => version('isolated'), 60_000)) ?? '', /"gitVersion"/);
      assert.equal(await dig('isolated', fullName, 'A'), undefined);
      await cluster().api.deleteAll(`/apis/networking.k8s.io/v1/namespaces/${namespace}/networkpolicies`);
    });
  });
}
