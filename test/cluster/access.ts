/** What an administrator does to a pod that no policy lets anybody reach: kubelet does it inside the node. */
import assert from 'node:assert/strict';
import { type ChildProcess, execFileSync } from 'node:child_process';
import { before, suite, test } from 'node:test';
import { until } from '../support/until.ts';
import { defaultDeny, type KubeCluster, namespaceOf, patient, podOf } from './cluster.ts';
import { podProgram } from './images.ts';
import { Kubectl } from './kubectl.ts';
import { ANSWER } from './patience.ts';

const namespace = 'closed';
const kubectl = new Kubectl(namespace);

/** Forwards a port of this machine to the pod's; the child ends with the caller's `kill`. */
async function forward(pod: string, ports: string): Promise<{ readonly child: ChildProcess; readonly port: number }> {
  const child = kubectl.spawn('port-forward', `pod/${pod}`, ports);
  let said = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', chunk => {
      said += chunk;
    });
  }
  const port = await until('the port to be forwarded', () => {
    assert.equal(child.exitCode, null, said);
    return /Forwarding from 127\.0\.0\.1:(\d+)/.exec(said)?.[1];
  });
  return { child, port: Number(port) };
}

export function access(cluster: () => KubeCluster): void {
  suite('kubectl with a pod under default-deny', () => {
    before(async () => {
      await cluster().api.apply(namespaceOf(namespace));
      await cluster().api.apply(defaultDeny(namespace));
      const talkative = {
        readinessProbe: { exec: { command: ['/bin/pod', 'ask', 'tcp', '127.0.0.1', '80', '1000'] }, ...patient },
      };
      await cluster().run({ namespace, name: 'shut', node: 'node2', container: talkative });
    });

    test('exec runs in it, and its requests are still refused', t => {
      const own = kubectl.run('exec', 'shut', '--', '/bin/pod', 'ask', 'tcp', '127.0.0.1', '80', String(ANSWER), 'who');
      t.diagnostic(`kubectl exec: ${own.trim()}`);
      assert.match(own, /^shut 127\.0\.0\.1/);
      const other = cluster().nodes.get('node1')!.place.v4;
      const ask = () =>
        kubectl.run('exec', 'shut', '--', '/bin/pod', 'ask', 'tcp', other, '10250', '2000', 'GET / HTTP/1.0\r\n\r\n');
      assert.throws(ask, /command terminated with exit code 4/);
    });

    test('logs come', async t => {
      await cluster().api.apply(podOf({ namespace, name: 'says', node: 'node2', words: ['what?'] }));
      const line = await kubectl.until('its log', 'logs', 'says');
      t.diagnostic(`kubectl logs: ${line.trim()}`);
      assert.match(line, /^usage: pod /);
    });

    test('port-forward reaches its port', async t => {
      const { child, port } = await forward('shut', ':80');
      try {
        const answer = execFileSync(podProgram, ['ask', 'tcp', '127.0.0.1', String(port), String(ANSWER), 'who'], {
          encoding: 'utf8',
        });
        t.diagnostic(`through port-forward: ${answer.trim()}`);
        assert.match(answer, /^shut /);
      } finally {
        child.kill('SIGKILL');
      }
    });
  });
}
