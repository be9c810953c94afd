/** `verify` while pods come and go: what is under way is no difference. */
import assert from 'node:assert/strict';
import test, { after } from 'node:test';
import { labelled, named, type } from '../support/cli-host.ts';
import { add, addresses, type Call, policies, silently, startHost } from '../support/cni.ts';

const host = await startHost();
after(() => host[Symbol.dispose]());
host.write(
  `${policies}/web.yaml`,
  `apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { name: web, namespace: shop }
spec: { podSelector: { matchLabels: { app: web } }, ingress: [{ from: [{ podSelector: { matchLabels: { app: front } } }] }] }
`,
);

const call = async (name: string): Promise<Call> => ({
  config: labelled({ app: name.startsWith('front') ? 'front' : name }),
  containerID: name,
  netns: await host.pod(),
  args: named('shop', name),
});

interface Report {
  readonly differences: readonly { readonly about: string; readonly what: string }[];
}

const LOOKS = 12;

test(`${LOOKS} looks while pods come and go find nothing, nor does --repair take anything from anybody`, async () => {
  const living = await call('web');
  const [address] = addresses(await add(host, living));
  const churns = await Promise.all([0, 1, 2].map(i => call(`front${i}`)));
  let isOver = false;
  const churn = async (pod: Call): Promise<number> => {
    let times = 0;
    for (; !isOver; times++) {
      await add(host, pod);
      await silently(host, 'DEL', pod);
    }
    return times;
  };
  const under = churns.map(churn);
  const looks: Report[] = [];
  try {
    for (let look = 0; look < LOOKS; look++) {
      const args = ['verify', '-o', 'json', ...(look % 4 === 3 ? ['--repair'] : [])];
      const { exit, stdout, stderr } = await type(host, args);
      assert.notEqual(exit, 3, stdout + stderr);
      looks.push(JSON.parse(stdout) as Report);
    }
  } finally {
    isOver = true;
    for (const times of await Promise.all(under)) assert.ok(times > 0);
  }
  assert.deepEqual(
    looks.flatMap(({ differences }) => differences),
    [],
  );
  assert.ok(await host.pings(address!));
  assert.deepEqual((JSON.parse((await type(host, ['verify', '-o', 'json'])).stdout) as Report).differences, []);
});
