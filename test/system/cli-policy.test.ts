/** `tollgate policy lint`, `matrix` and `apply`: what scripts rely on, and what a connection notices. */
import assert from 'node:assert/strict';
import test, { after, suite } from 'node:test';
import { labelled, named, type, typeJson } from '../support/cli-host.ts';
import { add, type Call, policies, runDir, silently, startHost, stateDir, tollgate } from '../support/cni.ts';

const host = await startHost({ setup: 'mkdir -p /run/work/all' });
after(() => host[Symbol.dispose]());

const pod = (namespace: string, name: string, app: string, ips: readonly string[]) => `apiVersion: v1
kind: Pod
metadata: { name: ${name}, namespace: ${namespace}, labels: { app: ${app} } }
status: { podIPs: [${ips.map(ip => `{ ip: '${ip}' }`).join(', ')}] }
`;
const isolated = (name: string, app: string, ingress: string) => `apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { name: ${name}, namespace: shop }
spec: { podSelector: { matchLabels: { app: ${app} } }, ingress: ${ingress} }
`;
const fromFront =
  '[{ from: [{ podSelector: { matchLabels: { app: front } } }], ports: [{ protocol: TCP, port: 80 }] }]';
const manifests = [
  pod('shop', 'web', 'web', ['10.0.0.1', 'fd00::1']),
  pod('shop', 'front', 'front', ['10.0.0.2', 'fd00::2']),
  pod('shop', 'v4only', 'other', ['10.0.0.3']),
  pod('shop', 'unborn', 'other', []),
  isolated('web', 'web', fromFront),
].join('---\n');
host.write('/run/work/all/shop.yaml', manifests);
host.write('/run/work/all/readme.txt', 'not a manifest');
host.write('/run/work/wrong.yaml', isolated('wrong', 'web', '[{ form: [] }]'));
host.write('/run/work/torn.yaml', 'a: [b\n');

const run = (...args: string[]) => host.run([tollgate, ...args]);

suite('policy lint', () => {
  interface Problem {
    readonly severity: string;
    readonly file: string;
    readonly document: number;
    readonly object: string | null;
    readonly field: string;
    readonly message: string;
  }
  const lint = async (expected: number, ...files: string[]) => {
    const { exit, stdout, stderr } = await run('policy', 'lint', '-f', ...files, '-o', 'json');
    assert.equal(exit, expected, stderr);
    return JSON.parse(stdout) as Problem[];
  };

  test('a folder without errors is exit code 0', async () => {
    assert.deepEqual(
      (await lint(0, '/run/work/all')).filter(({ severity }) => severity === 'error'),
      [],
    );
    assert.match((await run('policy', 'lint', '-f', '/run/work/all')).stdout, /^5 documents, no errors/m);
  });

  test('a folder in the folder whose manifests are not read is told, and so is a file called staged', async () => {
    const text = isolated('web', 'web', '[]');
    await host.sh('cd /run/work; mkdir -p nested/prod nested/staged/next nested/.git nested/docs flat');
    for (const file of ['web', 'prod/web', 'staged/web', 'staged/next/web', '.git/web'])
      host.write(`/run/work/nested/${file}.yaml`, text);
    host.write('/run/work/nested/docs/readme.txt', 'not a manifest');
    const warnings = await lint(0, '/run/work/nested');
    const unread = warnings.filter(({ message }) => /manifests are not read/.test(message));
    assert.deepEqual(
      unread.map(({ severity, file }) => `${severity} ${file}`),
      ['warning /run/work/nested/prod', 'warning /run/work/nested/staged/next'],
    );
    const without = await run('policy', 'lint', '-f', '/run/work/nested', '--no-warnings');
    assert.equal(without.stdout, '2 documents, no errors.\n');
    host.write('/run/work/flat/staged', text);
    assert.match((await run('policy', 'lint', '-f', '/run/work/flat')).stdout, /flat\/staged\S*: not a folder/);
    for (const target of ['/run/work/nowhere', 'staged']) {
      await host.sh(`ln -sfT ${target} /run/work/flat/staged`);
      const { stdout } = await run('policy', 'lint', '-f', '/run/work/flat');
      assert.match(stdout, /^warning: \/run\/work\/flat\/staged\S*: a link to what is not there, so no policy/m);
    }
  });

  test('an error names file, document, object and field, and is exit code 1', async () => {
    const problem = (await lint(1, '/run/work/all', '/run/work/wrong.yaml')).find(
      ({ severity }) => severity === 'error',
    );
    assert.ok(problem);
    assert.equal(problem.file, '/run/work/wrong.yaml');
    assert.equal(problem.document, 1);
    assert.equal(problem.object, 'NetworkPolicy/shop/wrong');
    assert.match(problem.field, /^spec\.ingress\[0\]/);
    const { stdout } = await run('policy', 'lint', '-f', '/run/work/wrong.yaml');
    assert.match(stdout, /^error: \/run\/work\/wrong\.yaml#1 NetworkPolicy\/shop\/wrong spec\.ingress\[0\]/m);
  });

  test('a file that does not parse is an error, too', async () => {
    const [problem] = await lint(1, '/run/work/torn.yaml');
    assert.equal(problem?.file, '/run/work/torn.yaml');
  });

  test('stdin is a file, by the name of -', async () => {
    const { exit, stdout } = await host.run([tollgate, 'policy', 'lint', '-f', '-'], { input: manifests });
    assert.equal(exit, 0);
    assert.match(stdout, /^5 documents/);
  });

  for (const [what, make, says] of [
    ['a link to a device without end', 'ln -s /dev/zero', /Cannot read \S+odd\.yaml: longer than 1 MiB, as no/],
    ['a FIFO without a writer', 'mkfifo', /Cannot read \S+odd\.yaml: a FIFO into which no program has written/],
    ['a file that is longer than text can be', 'truncate -s 600M', /Cannot read \S+odd\.yaml: longer than 511 MiB/],
  ] as const)
    test(`${what} is exit code 3`, async () => {
      await host.sh(`rm -f /run/work/odd.yaml; ${make} /run/work/odd.yaml`);
      const { exit, stdout, stderr } = await run(
        'policy',
        'diff',
        '-f',
        '/run/work/all',
        '--base',
        '/run/work/odd.yaml',
      );
      assert.deepEqual({ exit, stdout }, { exit: 3, stdout: '' });
      assert.match(stderr, says);
    });

  for (const [what, line] of [
    ['what a shell makes for <(command)', `${tollgate} policy lint -f <(sleep 0.2; cat all/shop.yaml)`],
    ['a FIFO whose writer comes later', `(sleep 0.2; cat all/shop.yaml >late) & ${tollgate} policy lint -f late`],
  ] as const)
    test(`${what} is a file`, async () => {
      const { exit, stdout } = await host.run([
        'bash',
        '--norc',
        '-c',
        `cd /run/work; rm -f late; mkfifo late; ${line}`,
      ]);
      assert.equal(exit, 0);
      assert.match(stdout, /^5 documents/);
    });

  test('a file that is not there is exit code 3', async () => {
    const { exit, stdout, stderr } = await run('policy', 'lint', '-f', '/run/work/nowhere.yaml');
    assert.equal(exit, 3);
    assert.equal(stdout, '');
    assert.match(stderr, /nowhere\.yaml/);
  });
});

suite('what cannot be read as manifests', () => {
  const world = [pod('shop', 'web', 'web', ['10.0.0.1']), pod('shop', 'front', 'front', ['10.0.0.2'])].join('---\n');
  const utf16 = Buffer.concat([Buffer.from([0xff, 0xfe]), Buffer.from(isolated('web', 'web', '[]'), 'utf16le')]);
  const rows: readonly (readonly [what: string, text: string | undefined, says: RegExp])[] = [
    ['a syntax error', 'spec:\n\tpodSelector: {}\n', /deny\.yaml#1: Tabs are not allowed/],
    ['a misspelt kind', isolated('web', 'web', '[]').replace('NetworkPolicy', 'Networkpolicy'), /write NetworkPolicy/],
    ['an error page', '404: Not Found\n', /deny\.yaml#1 kind: Missing/],
    ['a link to nothing', undefined, /a link to what is not there/],
  ];
  const ends = ['--from', 'shop/front', '--to', 'shop/web', '--port', '80'];

  for (const [what, text, says] of rows)
    test(`${what}: lint is exit code 1, and every command that judges by it is 3, with the reason and no answer`, async () => {
      await host.sh('mkdir -p /run/work/unread; rm -f /run/work/unread/deny.yaml');
      host.write('/run/work/unread/world.yaml', world);
      if (text === undefined) await host.sh('ln -s /nonexistent/x /run/work/unread/deny.yaml');
      else host.write('/run/work/unread/deny.yaml', text);
      const linted = await run('policy', 'lint', '-f', '/run/work/unread');
      assert.deepEqual([linted.exit, linted.stderr], [1, '']);
      assert.match(linted.stdout, says);
      for (const args of [
        ['explain', '-f', '/run/work/unread', ...ends],
        ['matrix', '-f', '/run/work/unread', '--port', '80'],
        ['list', '-f', '/run/work/unread'],
        ['diff', '-f', '/run/work/unread', '--base', '/run/work/all'],
        ['diff', '-f', '/run/work/all', '--base', '/run/work/unread'],
      ]) {
        const { exit, stdout, stderr } = await run('policy', ...args);
        assert.deepEqual([exit, stdout], [3, ''], args.join(' '));
        assert.match(stderr, says, args.join(' '));
      }
    });

  test('UTF-16 with a byte order mark is read', async () => {
    await host.sh('rm -f /run/work/unread/deny.yaml');
    host.write('/run/work/unread/deny.yaml', utf16);
    const { exit, stdout } = await run('policy', 'explain', '-f', '/run/work/unread', ...ends);
    assert.equal(exit, 1, stdout);
    assert.match(stdout, /NetworkPolicy\/shop\/web/);
  });
});

suite('policy lint of what is not enforced', () => {
  test('names policies of other APIs, and counts objects of other kinds', async () => {
    const object = (apiVersion: string, kind: string) => JSON.stringify({ apiVersion, kind, metadata: { name: 'x' } });
    host.write(
      '/run/work/others.yaml',
      [
        object('crd.antrea.io/v1beta1', 'ClusterNetworkPolicy'),
        object('cilium.io/v2', 'CiliumNetworkPolicy'),
        object('apps/v1', 'Deployment'),
        object('v1', 'Service'),
        object('v1', 'Service'),
      ].join('\n---\n'),
    );
    const { exit, stdout } = await run('policy', 'lint', '-f', '/run/work/others.yaml');
    assert.equal(exit, 0);
    assert.match(
      stdout,
      /^warning: .* ClusterNetworkPolicy\/x apiVersion: "crd\.antrea\.io\/v1beta1" is another project's policy/m,
    );
    assert.match(
      stdout,
      /^warning: .* CiliumNetworkPolicy\/x apiVersion: "cilium\.io\/v2" is another project's policy/m,
    );
    assert.match(
      stdout,
      /^5 documents, no errors, 2 warnings, 3 objects of other kinds ignored \(Deployment, Service\)\.$/m,
    );
  });
});

suite('names that others wrote', () => {
  test('reach no terminal as they are, and are errors', async () => {
    const hostile = '\\e[2J\\x9b31m\\n\\u202eweb';
    host.write(
      '/run/work/hostile.yaml',
      [
        pod('shop', 'front', 'front', ['10.0.0.2']),
        pod('shop', `"${hostile}"`, 'web', ['10.0.0.1']),
        isolated(`"${hostile}"`, 'web', `[{ "${hostile}": [] }]`),
        `apiVersion: v1\nkind: Namespace\nmetadata: { name: "${hostile}", labels: { "${hostile}": "${hostile}" } }\n`,
        `apiVersion: example.com/v1\nkind: "${hostile}"\nmetadata: { name: x }\n`,
        `apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: { name: "${hostile}" }\n`,
      ].join('---\n'),
    );
    const file = ['-f', '/run/work/hostile.yaml'];
    const { stdout } = await run('policy', 'lint', ...file, '-o', 'json');
    const named = (JSON.parse(stdout) as { readonly severity: string; readonly field: string }[]).filter(
      ({ severity, field }) => severity === 'error' && field === 'metadata.name',
    );
    assert.equal(named.length, 3, stdout);
    for (const args of [
      ['lint', ...file],
      ['lint', ...file, '-o', 'json'],
      ['matrix', ...file, '--port', '80'],
      ['matrix', ...file, '--port', '80', '-o', 'json'],
      ['matrix', ...file, '--port', '80', '-o', 'html'],
      ['list', ...file],
      ['list', ...file, '-o', 'json'],
      ['diff', ...file, '--base', '/run/work/all'],
      ['explain', ...file, '--from', 'shop/front', '--to', '10.0.0.1', '--port', '80'],
      ['explain', ...file, '--from', 'shop/front', '--to', 'shop/\x1b[31m', '--port', '80'],
    ]) {
      const done = await run('policy', ...args);
      // Of a line feed in a name nothing can be seen but a line that does not begin as ours do.
      assert.doesNotMatch(done.stdout + done.stderr, /(?!\n)[\p{Cc}\p{Cf}]|^.?web/mu, args.join(' '));
    }
  });
});

suite('policy matrix', () => {
  interface Side {
    readonly allowed: boolean;
    readonly by: readonly string[];
    readonly why: string;
  }
  interface Row {
    readonly from: string;
    readonly to: string;
    readonly family: number | null;
    readonly protocol: string;
    readonly port: number;
    readonly allowed: boolean;
    readonly egress: Side;
    readonly ingress: Side;
  }
  const matrix = async (...more: string[]) => {
    const { exit, stdout, stderr } = await run('policy', 'matrix', '-f', '/run/work/all', ...more, '-o', 'json');
    assert.equal(exit, 0, stderr);
    return JSON.parse(stdout) as Row[];
  };

  test('a row for each ordered pair and each family that both have, with the policies that decide', async () => {
    const rows = await matrix('--port', '80/TCP');
    const keys = ['allowed', 'egress', 'family', 'from', 'ingress', 'port', 'protocol', 'to'];
    for (const row of rows) assert.deepEqual(Object.keys(row).sort(), keys);
    const find = (from: string, to: string) => rows.filter(row => row.from === from && row.to === to);
    assert.deepEqual(
      find('shop/front', 'shop/web').map(({ family }) => family),
      [4, 6],
    );
    assert.deepEqual(
      find('shop/v4only', 'shop/web').map(({ family }) => family),
      [4],
    );
    assert.deepEqual(
      find('shop/unborn', 'shop/web').map(({ family }) => family),
      [null],
    );
    assert.deepEqual(find('shop/web', 'shop/web'), []);
    const by = ['NetworkPolicy/shop/web'];
    for (const { allowed, ingress, egress } of find('shop/front', 'shop/web')) {
      assert.ok(allowed && egress.allowed && egress.by.length === 0 && ingress.allowed);
      assert.deepEqual(ingress.by, by);
    }
    for (const { allowed, ingress } of find('shop/v4only', 'shop/web')) {
      assert.equal(allowed, false);
      assert.deepEqual(ingress.by, by);
      assert.match(ingress.why, /isolates shop\/web for ingress/);
    }
    // Two of both families, twice two with the one of IPv4, and the unborn with each of three; there and back.
    assert.equal(rows.length, 2 * (2 + 2 + 3));
  });

  test('another port and protocol is another question', async () => {
    const rows = await matrix('--port', '81');
    assert.ok(rows.every(({ port, protocol }) => port === 81 && protocol === 'TCP'));
    assert.ok(rows.filter(({ to }) => to === 'shop/web').every(({ allowed }) => !allowed));
    assert.ok(
      (await matrix('--port', '80/sctp')).filter(({ to }) => to === 'shop/web').every(({ allowed }) => !allowed),
    );
  });

  test('the picture has a line for each pod, and says why', async () => {
    const { stdout } = await run('policy', 'matrix', '-f', '/run/work/all', '--port', '80/TCP');
    assert.match(stdout, /^1\s+shop\/web\s+\.\s+yes\s+yes\s+yes$/m);
    assert.match(stdout, /^3\s+shop\/v4only\s+no\s+yes\s+\.\s+yes$/m);
    assert.match(stdout, /shop\/v4only to shop\/web: NetworkPolicy\/shop\/web isolates/);
  });

  test('with an invalid manifest the answer comes all the same, judged as closed, with exit code 1', async () => {
    const files = ['-f', '/run/work/all', '-f', '/run/work/wrong.yaml'];
    const { exit, stdout, stderr } = await run('policy', 'matrix', ...files, '--port', '80', '-o', 'json');
    assert.equal(exit, 1);
    assert.match(stderr, /wrong\.yaml#1/);
    assert.ok(Array.isArray(JSON.parse(stdout)));
  });

  test('without a node and without files it says what to do', async () => {
    const { exit, stderr } = await type(host, ['policy', 'matrix', '--port', '80']);
    assert.equal(exit, 3);
    assert.match(stderr, /-f/);
  });
});

suite('policy apply', () => {
  interface Applied {
    readonly isChanged: boolean;
    readonly added: readonly string[];
    readonly changed: readonly string[];
    readonly removed: readonly string[];
    readonly relabelled: readonly string[];
    readonly warnings: readonly string[];
    readonly pods: number;
  }
  const apply = (expected: number) => typeJson<Applied>(host, ['policy', 'apply'], expected);
  const calls = new Map<string, Call & { netns: string; address: string }>();
  const address = (name: string) => calls.get(name)!.address;
  const answered = async (from: string, port: number) =>
    (await host.ask('tcp', address('web'), port, calls.get(from)!.netns, 1000)) !== undefined;

  test('is refused where no pod is plugged in', async () => {
    const { exit, stderr } = await type(host, ['policy', 'apply']);
    assert.equal(exit, 3);
    assert.match(stderr, /no pod is plugged in/);
  });

  test('brings a running node from one folder to another, and says what changed', async () => {
    for (const name of ['web', 'front', 'stranger']) {
      const call = {
        config: labelled({ app: name }),
        containerID: name,
        netns: await host.pod(),
        args: named('shop', name),
      };
      const result = await add(host, call);
      calls.set(name, { ...call, address: result.ips![0]!.address.split('/')[0]! });
    }
    await host.serve('web', 'tcp', 80, calls.get('web')!.netns);
    assert.deepEqual([await answered('front', 80), await answered('stranger', 80)], [true, true]);

    host.write(`${policies}/web.yaml`, isolated('web', 'web', fromFront));
    const first = await apply(0);
    assert.deepEqual([first.isChanged, first.added, first.pods], [true, ['NetworkPolicy/shop/web'], 3]);
    assert.deepEqual([await answered('front', 80), await answered('stranger', 80)], [true, false]);

    assert.equal((await apply(0)).isChanged, false);

    host.write(`${policies}/web.yaml`, isolated('web', 'web', fromFront.replace('front', 'stranger')));
    assert.deepEqual((await apply(0)).changed, ['NetworkPolicy/shop/web']);
    assert.deepEqual([await answered('front', 80), await answered('stranger', 80)], [false, true]);

    await host.sh(`rm ${policies}/web.yaml`);
    assert.deepEqual((await apply(0)).removed, ['NetworkPolicy/shop/web']);
    assert.deepEqual([await answered('front', 80), await answered('stranger', 80)], [true, true]);
  });

  test('a Pod manifest that changes labels gives the pod another tag', async () => {
    host.write(`${policies}/web.yaml`, isolated('web', 'front', '[]'));
    await apply(0);
    assert.equal(await answered('stranger', 80), true);
    // The call's own labels go before the manifest's, so only a label that the call does not have can come from here.
    host.write(`${policies}/pods.yaml`, pod('shop', 'web', 'ignored', []).replace('app: ignored', 'tier: closed'));
    host.write(`${policies}/web.yaml`, isolated('web', 'web', '[]').replace('app: web', 'tier: closed'));
    const { relabelled } = await apply(0);
    assert.deepEqual(relabelled, ['shop/web']);
    assert.equal(await answered('stranger', 80), false);
  });

  test('a folder in the folder is told, since nothing of it is in force, and is no failure', async () => {
    await host.sh(`mkdir ${policies}/prod`);
    host.write(`${policies}/prod/web.yaml`, isolated('open', 'web', '[{}]').replace('app: web', 'tier: closed'));
    const { isChanged, warnings } = await apply(0);
    assert.deepEqual([isChanged, warnings.length], [false, 1]);
    assert.match(warnings.join(), /policies\/prod: a folder whose manifests are not read/);
    assert.equal(await answered('stranger', 80), false);
    await host.sh(`rm -r ${policies}/prod`);
  });

  test('a file that does not parse any more leaves its last good version in force, with a warning and exit code 1', async () => {
    host.write(`${policies}/web.yaml`, 'a: [b\n');
    const { warnings } = await apply(1);
    assert.match(warnings.join(), /last good version stays in force/);
    assert.equal(await answered('stranger', 80), false);
  });

  test('a file that never parsed is exit code 3, and nothing changes', async () => {
    await host.sh(`rm ${policies}/*; echo 'a: [b' >${policies}/new.yaml`);
    const { exit, stderr } = await type(host, ['policy', 'apply']);
    assert.equal(exit, 3);
    assert.match(stderr, /new\.yaml/);
    assert.equal(await answered('stranger', 80), false);
  });

  test('an invalid policy closes whom it selects, with exit code 1', async () => {
    await host.sh(`rm ${policies}/*`);
    host.write(`${policies}/wrong.yaml`, isolated('wrong', 'web', '[{ form: [] }]'));
    assert.match((await apply(1)).warnings.join(), /wrong\.yaml#1/);
    assert.equal(await answered('stranger', 80), false);
    await host.sh(`rm ${policies}/*`);
    await apply(0);
  });

  test('the table names its folders, so that they need not be typed', async () => {
    const { exit, stdout } = await host.run([tollgate, 'policy', 'apply', '--run-dir', runDir]);
    assert.equal(exit, 0);
    assert.match(stdout, new RegExp(`of ${policies}`));
    const pods = JSON.parse(await host.must([tollgate, 'pods', '--run-dir', runDir, '-o', 'json'])) as unknown[];
    assert.equal(pods.length, 3, `those of ${stateDir}`);
  });

  test('a node whose enforcer is another is refused', async () => {
    for (const call of calls.values()) await silently(host, 'DEL', call);
    const call = { config: labelled({}, { enforcer: 'none' }), containerID: 'free', netns: await host.pod() };
    await add(host, call);
    const { exit, stderr } = await type(host, ['policy', 'apply']);
    assert.equal(exit, 3);
    assert.match(stderr, /enforcer is none/);
    await silently(host, 'DEL', call);
  });
});
