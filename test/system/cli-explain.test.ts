/** The questions as a person types them: on a node with pods that are plugged in, and of manifests alone. */
import assert from 'node:assert/strict';
import test, { after, suite } from 'node:test';
import { labelled, named, type, typeJson } from '../support/cli-host.ts';
import { add, addresses, policies, startHost, tollgate } from '../support/cni.ts';

const host = await startHost({ setup: 'mkdir -p /run/work' });
after(() => host[Symbol.dispose]());
const run = (...args: string[]) => host.run([tollgate, ...args]);

const policy = (name: string, spec: string): string =>
  `apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: { namespace: shop, name: ${name} }\nspec: ${spec}\n`;
const db = (port: number, app = 'web'): string =>
  policy(
    'db',
    `{ podSelector: { matchLabels: { app: db } }, ingress: [{ from: [{ podSelector: { matchLabels: { app: ${app} } } }], ports: [{ protocol: TCP, port: ${port} }] }] }`,
  );
const inFolder = (text: string) => host.write(`${policies}/shop.yaml`, text);

inFolder(db(5432));
const netns: Record<string, string> = {};
const ip: Record<string, string> = {};
for (const name of ['web', 'db', 'other', 'bare']) {
  netns[name] = await host.pod();
  const result = await add(host, {
    config: name === 'bare' ? labelled({}) : labelled({ app: name }),
    containerID: name,
    netns: netns[name]!,
    args: named('shop', name),
  });
  ip[name] = addresses(result)[0]!;
}
await host.serve('db', 'tcp', 5432, netns['db']);
await host.serve('db', 'tcp', 9187, netns['db']);
const reaches = async (from: string, port: number): Promise<boolean> =>
  (await host.ask('tcp', ip['db']!, port, netns[from], 1500)) !== undefined;

interface Row {
  readonly from: string;
  readonly to: string;
  readonly family: number | null;
  readonly allowed: boolean;
  readonly egress: { readonly allowed: boolean; readonly by: readonly string[]; readonly why: string };
  readonly ingress: { readonly allowed: boolean; readonly by: readonly string[]; readonly why: string };
}
const explained = (from: string, to: string, port: string, expected: number) =>
  typeJson<readonly Row[]>(host, ['policy', 'explain', '--from', from, '--to', to, '--port', port], expected);

suite('policy explain on the node', () => {
  test('says what the kernel does, with exit code 0 for allowed and 1 for denied', async () => {
    for (const [from, port, allowed] of [
      ['web', 5432, true],
      ['web', 9187, false],
      ['other', 5432, false],
    ] as const) {
      assert.equal(await reaches(from, port), allowed, `${from} to ${port}`);
      const rows = await explained(`shop/${from}`, 'shop/db', `${port}/TCP`, allowed ? 0 : 1);
      assert.deepEqual(
        rows.map(row => [row.family, row.allowed]),
        [
          [4, allowed],
          [6, allowed],
        ],
      );
      for (const { ingress } of rows) assert.deepEqual(ingress.by, ['NetworkPolicy/shop/db']);
    }
  });

  test('of a ping it says what the kernel does: a rule for a port does not allow it', async () => {
    for (const [from, to] of [
      ['web', 'db'],
      ['db', 'web'],
    ] as const) {
      const isAllowed = to === 'web';
      const { exit } = await host.run(['ping', '-c', '1', '-W', '2', ip[to]!], { netns: netns[from]! });
      assert.equal(exit === 0, isAllowed, `ping from ${from} to ${to}`);
      const rows = await explained(`shop/${from}`, `shop/${to}`, 'icmp', isAllowed ? 0 : 1);
      assert.deepEqual(
        rows.map(row => row.allowed),
        [isAllowed, isAllowed],
      );
    }
    const { stdout } = await type(host, [
      ...['policy', 'explain', '--from', 'shop/web', '--to', 'shop/db', '--port', 'ICMP'],
    ]);
    for (const line of [
      /^shop\/web to shop\/db, traffic without ports, IPv4 and IPv6: denied$/m,
      /it has no port, and only a rule without ports allows such traffic/,
      /\* Add to the ingress rules of NetworkPolicy\/shop\/db:\n +- from:\n +- podSelector:\n +matchLabels:\n +app: web\n+$/,
    ])
      assert.match(stdout, line);
  });

  test('its JSON has the keys of the contract', async () => {
    const [row] = await explained('shop/other', 'shop/db', '5432', 1);
    assert.deepEqual(Object.keys(row!), ['from', 'to', 'family', 'protocol', 'port', 'allowed', 'egress', 'ingress']);
    assert.deepEqual(Object.keys(row!.ingress), ['allowed', 'by', 'why']);
  });

  test('an address of a pod is that pod, others are nobody, and the node is let in', async () => {
    assert.equal((await explained(ip['web']!, 'shop/db', '5432', 0))[0]!.from, ip['web']);
    assert.match((await explained('192.0.2.7', 'shop/db', '5432', 1))[0]!.ingress.why, /from 192\.0\.2\.7$/);
    assert.match((await explained('node', 'shop/db', '9187', 0))[0]!.ingress.why, /its own node/);
  });

  test('in words: the rule that was tried, what about it does not fit, and what would help', async () => {
    const { exit, stdout, stderr } = await type(host, [
      'policy',
      'explain',
      '--from',
      'shop/other',
      '--to',
      'shop/db',
      '--port',
      '5432',
    ]);
    assert.deepEqual([exit, stderr], [1, '']);
    for (const line of [
      /^shop\/other to shop\/db, TCP 5432, IPv4 and IPv6: denied$/m,
      /No policy isolates shop\/other for egress/,
      /^ {2}NetworkPolicy\/shop\/db {2}\(.*shop\.yaml, document 1\)$/m,
      /- ingress\[0\] {2}from pods app=web in namespace shop, TCP 5432/,
      /shop\/other has app=other, and app=web is asked for/,
      /\* Label shop\/other app=web: then NetworkPolicy\/shop\/db ingress\[0\] allows it/,
      /^ {8}- from:$/m,
    ])
      assert.match(stdout, line);
  });

  test('whom nobody knows is wrong usage, with a hint', async () => {
    const { exit, stderr } = await type(host, [
      'policy',
      'explain',
      '--from',
      'web',
      '--to',
      'shop/db',
      '--port',
      '80',
    ]);
    assert.equal(exit, 2);
    assert.match(stderr, /Cannot find --from web: .*shop\/web/);
  });
});

interface Difference {
  readonly changes: readonly {
    readonly change: string;
    readonly from: readonly string[];
    readonly to: readonly string[];
    readonly why: string;
  }[];
}

suite('policy diff on the node', () => {
  const diff = (expected: number, ...args: string[]) =>
    typeJson<Difference>(host, ['policy', 'diff', ...args], expected);
  const shown = ({ changes }: Difference) =>
    changes.map(({ change, from, to, why }) => `${change} ${from} ${to}: ${why}`);

  test('what is in force already changes nothing: exit code 0', async () => {
    assert.deepEqual(shown(await diff(0, '-f', `${policies}/shop.yaml`)), []);
  });

  test('a policy of the same name replaces, and others stay unless the manifests are the whole', async () => {
    host.write('/run/work/new.yaml', db(5432, 'other'));
    const opens = 'opens shop/other shop/db: NetworkPolicy/shop/db ingress[0] allows it';
    const closes = 'closes shop/web shop/db: NetworkPolicy/shop/db ingress[0] no longer allows it';
    assert.deepEqual(shown(await diff(1, '-f', '/run/work/new.yaml')), [opens, closes]);
    host.write('/run/work/more.yaml', policy('none', '{ podSelector: { matchLabels: { app: nobody } } }'));
    assert.deepEqual(shown(await diff(0, '-f', '/run/work/more.yaml')), []);
    const whole = shown(await diff(1, '-f', '/run/work/more.yaml', '--whole'));
    assert.ok(
      whole.length > 0 && whole.every(line => /^opens .* no longer isolates for ingress$/.test(line)),
      whole.join('\n'),
    );
  });

  test('a Pod manifest that labels a pod of this node counts', async () => {
    const labels = 'metadata: { namespace: shop, name: bare, labels: { app: web } }';
    host.write('/run/work/pod.yaml', `apiVersion: v1\nkind: Pod\n${labels}\n`);
    assert.deepEqual(shown(await diff(1, '-f', '/run/work/pod.yaml')), [
      'opens shop/bare shop/db: NetworkPolicy/shop/db ingress[0] allows it',
    ]);
  });

  test('it is said before anything is applied, and comes true when it is', async () => {
    const text = (await type(host, ['policy', 'diff', '-f', '/run/work/new.yaml'])).stdout;
    assert.match(
      text,
      /^\+ opens {3}shop\/other to shop\/db\n {10}TCP 5432; IPv4 and IPv6\n {10}NetworkPolicy\/shop\/db ingress\[0\] allows it$/m,
    );
    assert.equal(await reaches('other', 5432), false);
    inFolder(db(5432, 'other'));
    assert.equal((await type(host, ['policy', 'apply'])).exit, 0);
    assert.deepEqual([await reaches('other', 5432), await reaches('web', 5432)], [true, false]);
    inFolder(db(5432));
    assert.equal((await type(host, ['policy', 'apply'])).exit, 0);
  });
});

suite('policy apply --dry-run', () => {
  const table = () => host.must(['nft', '-s', 'list', 'table', 'inet', 'tollgate']);

  test('prints what nft takes, changes nothing, and apply then does just that', async () => {
    assert.match((await type(host, ['policy', 'apply', '--dry-run'])).stdout, /^# Nothing would be sent/);
    inFolder(
      `${db(9187)}---\n${policy('out', '{ podSelector: { matchLabels: { app: other } }, policyTypes: [Egress] }')}`,
    );
    const before = await table();
    const { exit, stdout, stderr } = await type(host, ['policy', 'apply', '--dry-run']);
    assert.equal(exit, 0, stderr);
    assert.match(stdout, /NetworkPolicy\/shop\/db ingress\[0\]/);
    assert.equal(await table(), before);
    await host.must(['nft', '-c', '-f', '-'], { input: stdout });
    // By nft's own hand, in a copy of the batch, the table becomes what apply makes of it.
    await host.must(['nft', '-f', '-'], { input: stdout });
    const byHand = await table();
    assert.notEqual(byHand, before);
    assert.equal((await type(host, ['policy', 'apply'])).exit, 0);
    const withoutMarker = (text: string) => text.replace(/(set marker \{[^}]*elements = \{)[^}]*\}/, '$1}');
    assert.equal(withoutMarker(await table()), withoutMarker(byHand));
  });
});

suite('policy list on the node', () => {
  interface Listed {
    readonly policy: string;
    readonly selects: readonly string[];
    readonly ingress: { readonly rules: number; readonly allowed: Count | null; readonly denied: Count | null } | null;
    readonly egress: unknown;
  }
  interface Count {
    readonly packets: number;
    readonly bytes: number;
  }
  const list = () => typeJson<readonly Listed[]>(host, ['policy', 'list'], 0);

  test('counts what a policy allowed and denied', async () => {
    inFolder(db(5432));
    assert.equal((await type(host, ['policy', 'apply'])).exit, 0);
    const [before] = await list();
    for (let i = 0; i < 3; i++) assert.equal(await reaches('web', 5432), true);
    assert.equal(await reaches('other', 5432), false);
    const [after, ...more] = await list();
    assert.deepEqual([after!.policy, after!.selects, more], ['NetworkPolicy/shop/db', ['shop/db'], []]);
    assert.equal(after!.ingress!.allowed!.packets - before!.ingress!.allowed!.packets, 3);
    assert.ok(after!.ingress!.denied!.packets > before!.ingress!.denied!.packets);
    const text = (await type(host, ['policy', 'list'])).stdout;
    assert.match(text, /^NetworkPolicy\/shop\/db\s+db\s+1 rule, \d+ allowed, \d+ denied\s+-\s+/m);
  });
});

test('where somebody has changed the table, the answer says that it may not be the kernel’s', async () => {
  await host.must(['nft', 'flush', 'chain', 'inet', 'tollgate', 'raw']);
  const asked = ['policy', 'explain', '--from', 'shop/web', '--to', 'shop/db', '--port', '5432'];
  const { exit, stderr } = await type(host, asked);
  assert.equal(exit, 0);
  assert.match(stderr, /table is not what its file says.*tollgate verify/);
  await type(host, ['verify', '--repair']);
  assert.equal((await type(host, asked)).stderr, '');
});

suite('of manifests alone', () => {
  const pod = (name: string, at: number) =>
    `apiVersion: v1\nkind: Pod\nmetadata: { namespace: shop, name: ${name}-${at}, labels: { app: ${name} } }\nstatus: { podIPs: [{ ip: 10.0.${name.length}.${at} }] }\n`;
  const pods = ['web', 'db', 'cache'].flatMap(name => Array.from({ length: 9 }, (_, i) => pod(name, i + 1)));
  host.write('/run/work/pods.yaml', pods.join('---\n'));
  host.write('/run/work/db.yaml', db(5432));

  test('explain and diff need no node', async () => {
    const files = ['-f', '/run/work/pods.yaml', '/run/work/db.yaml'];
    const asked = ['--from', 'shop/cache-1', '--to', 'shop/db-1', '--port', '5432/TCP'];
    assert.equal((await run('policy', 'explain', ...files, ...asked)).exit, 1);
    const { exit, stdout } = await run('policy', 'diff', '-f', '/run/work/db.yaml', '--base', '/run/work/pods.yaml');
    assert.equal(exit, 1);
    assert.match(stdout, /^- closes {2}shop\/cache-1, .* and \d+ more to shop\/db-1/m);
  });

  test('the picture fits the terminal: pods of one identity together, with a legend', async () => {
    const env = { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', COLUMNS: '60' };
    const files = ['-f', '/run/work/pods.yaml', '/run/work/db.yaml'];
    const { stdout } = await host.run([tollgate, 'policy', 'matrix', ...files, '--port', '5432'], { env });
    const picture = stdout.split('\nPods that share')[0]!;
    for (const line of picture.split('\n')) assert.ok(line.length <= 60, line);
    assert.match(picture, /^1 {2}shop app=web \(9\) {4}\+ \+ \+$/m);
    assert.match(picture, /^3 {2}shop app=cache \(9\) {2}\+ x \+$/m);
    assert.match(picture, /^\+ allowed {3}x denied$/m);
    assert.match(stdout, /2: db-1, db-2, db-3 and 6 more/);
    assert.match(stdout, /shop\/cache-1 to shop\/db-1: NetworkPolicy\/shop\/db isolates/);
  });

  test('pods that differ are drawn in pieces where they do not fit', async () => {
    const differ = Array.from({ length: 40 }, (_, i) => pod(`app${i}`, i + 1)).join('---\n');
    host.write('/run/work/differ.yaml', differ);
    const env = { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', COLUMNS: '60' };
    const { stdout } = await host.run([tollgate, 'policy', 'matrix', '-f', '/run/work/differ.yaml', '--port', '80'], {
      env,
    });
    for (const line of stdout.split('\n')) assert.ok(line.length <= 60, line);
    const rows = stdout.split('\n').filter(line => /^ *\d+ {2}shop\/app/.test(line));
    assert.ok(rows.length >= 80 && rows.length % 40 === 0, `${rows.length} rows`);
    const signs = rows.flatMap(line => line.slice(line.indexOf('  ', 4)).match(/[+x.]/g) ?? []);
    assert.equal(signs.length, 1600);
  });

  test('lint tells warnings with exit code 0, and none where they are not wanted', async () => {
    const files = ['-f', '/run/work/pods.yaml', '/run/work/more.yaml'];
    const { exit, stdout } = await run('policy', 'lint', ...files);
    assert.equal(exit, 0);
    assert.match(
      stdout,
      /^warning: .*more\.yaml#1 NetworkPolicy\/shop\/none spec\.podSelector: Selects none of the 27 pods/m,
    );
    assert.match((await run('policy', 'lint', ...files, '--no-warnings')).stdout, /^28 documents, no errors\.$/m);
  });
});

suite('completion', () => {
  test('the script is for this shell, and completes commands, options and their values', async () => {
    const env = { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', SHELL: '/bin/bash' };
    const ask = async (...words: string[]) =>
      (await host.run([tollgate, '--get-yargs-completions', 'tollgate', ...words], { env })).stdout.trim().split('\n');
    const { exit, stdout } = await host.run([tollgate, 'completion'], { env });
    assert.equal(exit, 0);
    await host.must(['bash', '-n'], { input: stdout });
    assert.match(stdout, /^complete .* tollgate$/m);
    for (const word of ['explain', 'diff', 'matrix', 'lint', 'list', 'apply'])
      assert.ok((await ask('policy', '')).includes(word), word);
    assert.ok((await ask('policy', 'explain', '--')).includes('--from'));
    for (const words of [['flows'], ['policy', 'lint'], ['policy', 'matrix'], ['gc']])
      assert.deepEqual(
        (await ask(...words, '--')).filter(word => word.length === 3),
        [],
      );
    assert.deepEqual(await ask('policy', 'matrix', '-o', ''), ['text', 'json', 'html']);
  });
});
