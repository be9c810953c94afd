/** What `tollgate verify` finds, and what it and `tollgate gc` put right, after somebody has broken things on purpose. */
import assert from 'node:assert/strict';
import test, { after, suite } from 'node:test';
import { labelled, named, type, typeJson } from '../support/cli-host.ts';
import { add, type Call, cni, policies, runDir, silently, startHost, stateDir, tollgate } from '../support/cni.ts';
import { snapshot, tagged } from '../support/snapshot.ts';

const host = await startHost();
after(() => host[Symbol.dispose]());

interface Report {
  readonly fine: boolean;
  readonly differences: readonly { readonly about: string; readonly what: string; readonly nft?: readonly string[] }[];
  readonly lacking: readonly { readonly severity: string; readonly what: string; readonly fix?: string }[];
  readonly repaired: { readonly mended: readonly { readonly what: string }[]; readonly nft: readonly string[] } | null;
}

const verify = (expected: 0 | 1, ...more: string[]) => typeJson<Report>(host, ['verify', ...more], expected);
const words = ({ differences }: Report) => differences.map(({ about, what }) => `${about}: ${what}`);
const grave = ({ lacking }: Report) => lacking.filter(({ severity }) => severity !== 'note');

async function plug(name: string): Promise<Call & { netns: string }> {
  const call = {
    config: labelled({ app: name }),
    containerID: name,
    netns: await host.pod(),
    args: named('shop', name),
  };
  await add(host, call);
  return call;
}

host.write(
  `${policies}/web.yaml`,
  `apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { name: web, namespace: shop }
spec: { podSelector: { matchLabels: { app: web } }, ingress: [{ from: [{ podSelector: { matchLabels: { app: front } } }] }] }
`,
);
const web = await plug('web');
await plug('front');
const link = (await tagged(host)).find(({ alias }) => alias?.includes('shop/web'))!.name;
/** nft lists what is in a table by when it was made, which a repair cannot bring back. */
async function pictured(): Promise<unknown> {
  const found = await snapshot(host);
  return { ...found, rules: found.rules.split('\n\n').sort() };
}
const whole = await pictured();

interface Fault {
  readonly what: string;
  readonly script: string;
  /** Of some difference, or of the nft lines that mend it. */
  readonly said: RegExp;
  /** The only difference, whatever follows from it. */
  readonly isOnly?: true;
}

const faults: readonly Fault[] = [
  {
    what: 'an element is gone from a set of peers',
    script: `set=$(nft list sets inet | grep -o 'pods4-[0-9a-f]*'); nft flush set inet tollgate $set`,
    said: /add element inet tollgate pods4-\w+ \{ 10\.77\.0\.3 \}/,
  },
  {
    what: 'a tag leads nowhere',
    script: 'nft delete element inet tollgate ingress_by_tag { 0x74670001 }',
    said: /add element inet tollgate ingress_by_tag \{ 0x74670001 comment "shop app=web" : goto in-/,
  },
  {
    what: 'a tag leads to open doors',
    script: `nft delete element inet tollgate ingress_by_tag { 0x74670001 }
      nft add element inet tollgate ingress_by_tag { 0x74670001 : return }`,
    said: /add element inet tollgate ingress_by_tag \{ 0x74670001 .* goto in-/,
  },
  {
    what: 'a rule was put in front',
    script: 'nft insert rule inet tollgate gate accept',
    said: /flush chain inet tollgate gate|add rule inet tollgate gate/,
  },
  { what: 'a chain is empty', script: 'nft flush chain inet tollgate raw', said: /add rule inet tollgate raw / },
  { what: 'the table is gone', script: 'nft delete table inet tollgate', said: /is gone: no pod is gated/ },
  { what: 'the ruleset was flushed', script: 'nft flush ruleset', said: /is gone: no pod is gated/ },
  { what: 'the state file is gone', script: `rm ${runDir}/*.node`, said: /state file .* is missing/ },
  { what: 'the state file is garbage', script: `echo '{' >$(ls ${runDir}/*.node)`, said: /state file .* is missing/ },
  { what: 'a pod is in quarantine', script: `ip link set ${link} group ${0x74670000}`, said: /tagged quarantine/ },
  {
    what: 'a pod has another one’s tag',
    script: `ip link set ${link} group ${0x74670002}`,
    said: /tagged 0x74670002, its identity is 0x74670001/,
  },
  { what: 'a pod has no tag', script: `ip link set ${link} group default`, said: /its identity is 0x74670001/ },
  {
    what: 'a link has another alias',
    script: `ip link set ${link} alias 'tollgate:shop/web:other'`,
    said: /has the alias/,
  },
  {
    what: 'IPv4 is not forwarded',
    script: 'echo 0 >/proc/sys/net/ipv4/ip_forward',
    said: /ip_forward: is 0/,
    isOnly: true,
  },
  {
    what: 'IPv6 is not forwarded',
    script: 'echo 0 >/proc/sys/net/ipv6/conf/all/forwarding',
    said: /forwarding: is 0/,
    isOnly: true,
  },
  { what: 'a route is gone', script: 'ip route delete 10.77.0.2', said: /route to 10\.77\.0\.2 .* is missing/ },
  {
    what: 'an address is no longer reserved',
    script: `rm ${stateDir}/boot-*/net/claims/10.77.0.2`,
    said: /no longer reserved/,
  },
  {
    what: 'an address is reserved by nobody',
    script: `cd ${stateDir}/boot-*/net/claims && touch 10.77.0.9`,
    said: /10\.77\.0\.9: it is reserved in network net, but no attachment holds it/,
  },
];

test('what is as it should be is fine', async () => {
  const report = await verify(0);
  assert.equal(report.fine, true);
  assert.deepEqual(report.differences, []);
  assert.deepEqual(grave(report), []);
});

suite('verify names it, --repair mends it, and then all is as it was', () => {
  for (const { what, script, said, isOnly } of faults)
    test(what, async () => {
      await host.sh(script);
      const found = await verify(1);
      const all = [...words(found), ...found.differences.flatMap(({ nft }) => nft ?? [])];
      assert.ok(
        all.some(line => said.test(line)),
        `${said} is not in\n${all.join('\n')}`,
      );
      if (isOnly) assert.equal(found.differences.length, 1, all.join('\n'));
      assert.equal(found.repaired, null);
      const repaired = await verify(0, '--repair');
      assert.ok(repaired.repaired);
      assert.deepEqual(repaired.differences, []);
      assert.deepEqual((await verify(0)).differences, []);
      assert.deepEqual(await pictured(), whole);
    });
});

test('a policy that was changed and not applied is named, and left to `policy apply`', async () => {
  host.write(`${policies}/more.yaml`, '# nothing yet\n');
  assert.match(words(await verify(1, '--repair')).join(), /has changed since it was applied/);
  assert.equal((await type(host, ['policy', 'apply'])).exit, 0);
  await verify(0);
  await host.sh(`rm ${policies}/more.yaml`);
  assert.equal((await type(host, ['policy', 'apply'])).exit, 0);
});

test('a file that keeps the folder from being applied is named, as `policy apply` names it', async () => {
  host.write(`${policies}/broken.yaml`, 'a: [');
  const applied = await type(host, ['policy', 'apply']);
  assert.equal(applied.exit, 3);
  const [, says] = /^tollgate: (.+)$/m.exec(applied.stderr)!;
  assert.match(says!, /^Cannot read policies: [^:]*broken\.yaml#1: [^/]*$/);
  assert.ok(words(await verify(1)).some(line => line.includes(`what it said then stays in force: ${says}; mend that`)));
  await host.sh(`rm ${policies}/broken.yaml`);
  assert.equal((await type(host, ['policy', 'apply'])).exit, 0);
  await verify(0);
});

suite('a policies folder whose newest word does not count is named, though nothing is left to apply', () => {
  const damages: readonly (readonly [what: string, script: string, said: RegExp, mend: string])[] = [
    [
      'a file is broken, and its last good version is in force',
      `cp ${policies}/web.yaml /run/web.yaml; echo 'a: [' >${policies}/web.yaml`,
      /web\.yaml cannot be read as manifests, so its last good version stays in force/,
      `mv /run/web.yaml ${policies}/web.yaml`,
    ],
    [
      'the folder cannot be read',
      `mv ${policies} /run/policies; : >${policies}`,
      /Cannot read the policies folder .*: what it said last stays in force/,
      `rm ${policies}; mv /run/policies ${policies}`,
    ],
  ];
  for (const [what, script, said, mend] of damages)
    test(what, async () => {
      await host.sh(script);
      await type(host, ['policy', 'apply']);
      assert.match(words(await verify(1)).join('\n'), said);
      await host.sh(mend);
      assert.equal((await type(host, ['policy', 'apply'])).exit, 0);
      await verify(0);
    });
});

test('a folder in which no ADD could keep state is named', async () => {
  const readOnly = async <T>(folder: string, look: () => Promise<T>): Promise<T> => {
    await host.sh(`mount --bind ${folder} ${folder}; mount -o remount,ro,bind ${folder}`);
    const seen = await look();
    await host.sh(`umount ${folder}`);
    return seen;
  };
  const said = grave(await readOnly(stateDir, () => verify(1))).map(({ what }) => what);
  assert.deepEqual(said, [`Cannot keep state in ${stateDir}: not writable (EROFS)`]);
  const { exit, stderr } = await readOnly(runDir, () => type(host, ['verify']));
  assert.equal(exit, 3);
  assert.match(stderr, /Cannot lock .* the file system is read-only: mount it read-write/);
  await verify(0);
});

/** Whether a packet gets from one pod to another, within so many seconds. */
const crosses = (patience: number) => host.pings('10.77.0.3', web.netns, patience);

suite('what stands in pods’ way is named with the line to add, and never touched', () => {
  const blocks: readonly {
    readonly what: string;
    readonly script: string;
    readonly said: RegExp;
    readonly undo: string;
  }[] = [
    {
      what: 'a policy of docker’s',
      script: 'iptables-nft -P FORWARD DROP; iptables-nft -N DOCKER-USER; iptables-nft -A FORWARD -j DOCKER-USER',
      said: /chain FORWARD of table ip filter drops/,
      undo: 'nft delete table ip filter',
    },
    {
      what: 'a reject at the end of a chain',
      script: 'iptables-nft -A FORWARD -j REJECT',
      said: /chain FORWARD of table ip filter drops/,
      undo: 'nft delete table ip filter',
    },
    {
      what: 'a drop in a chain that is jumped to',
      script: `nft 'add table inet fw; add chain inet fw deny; add rule inet fw deny counter drop
        add chain inet fw passing { type filter hook forward priority 10; }; add rule inet fw passing ct state established accept
        add rule inet fw passing jump deny'`,
      said: /chain passing of table inet fw drops/,
      undo: 'nft delete table inet fw',
    },
  ];
  for (const { what, script, said, undo } of blocks)
    test(what, async () => {
      await host.sh(script);
      assert.equal(await crosses(1), false);
      const before = await host.sh('nft -s list ruleset');
      const [lack] = grave(await verify(1));
      assert.match(lack!.what, said);
      assert.equal(grave(await verify(1, '--repair')).length, 1);
      assert.equal(await host.sh('nft -s list ruleset'), before);
      // The advice must be worth something.
      await host.sh(lack!.fix!.replaceAll('iptables ', 'iptables-nft '));
      assert.equal(await crosses(30), true);
      assert.deepEqual(grave(await verify(0)), []);
      await host.sh(undo);
    });

  test('STATUS says so too, and still succeeds', async () => {
    await host.sh(blocks[0]!.script);
    const { exit, stderr, stdout } = await cni(host, 'STATUS', { config: labelled({}) });
    assert.equal(exit, 0, stdout);
    assert.match(stderr, /chain FORWARD of table ip filter drops .*iptables -I DOCKER-USER -i tg\+ -j ACCEPT/);
    await host.sh(blocks[0]!.undo);
  });

  test('a link of somebody else’s in our range', async () => {
    await host.sh(`ip link add theirs type bridge; ip link set theirs group ${0x74670007}`);
    const [lack] = grave(await verify(1, '--repair'));
    assert.match(lack!.what, /^theirs has interface group 0x74670007/);
    await host.sh(lack!.fix!);
    await verify(0);
    await host.sh('ip link delete theirs');
  });
});

interface Swept {
  readonly dryRun: boolean;
  readonly adopted: readonly { readonly containerID: string; readonly pod: string }[];
  readonly undone: readonly {
    readonly containerID: string;
    readonly addresses: readonly string[];
    readonly why: string;
  }[];
  readonly released: readonly { readonly address: string }[];
  readonly links: readonly { readonly alias: string }[];
  readonly unknown: readonly { readonly alias: string }[];
  readonly nft: readonly string[];
  readonly failures: readonly string[];
}

/** What `gc` does is what `gc --dry-run` says, and that changes nothing. */
async function gcAsForetold(...more: string[]): Promise<Swept> {
  const all = async () => [await pictured(), host.files('/run/test')];
  const before = await all();
  const foretold = await typeJson<Swept>(host, ['gc', '--dry-run', ...more], 0);
  assert.deepEqual(await all(), before);
  const done = await typeJson<Swept>(host, ['gc', ...more], 0);
  // The marker is another one with each batch, and two batches may do the same in another order.
  const sorted = ({ nft, ...others }: Swept) => ({ ...others, nft: nft.filter(line => !/ marker /.test(line)).sort() });
  assert.deepEqual(sorted({ ...foretold, dryRun: false }), sorted(done));
  return done;
}

suite('a running pod whose record is lost is adopted by the node’s state', () => {
  const losses: readonly (readonly [what: string, script: string])[] = [
    ['its record', `rm ${stateDir}/boot-*/net/attachments/web:eth0`],
    ['its record and its claims', `rm ${stateDir}/boot-*/net/attachments/web:eth0 ${stateDir}/boot-*/net/claims/*0.2`],
    ['the whole state folder', `rm -rf ${stateDir}`],
    ['the folder of records', `rm -rf ${stateDir}/boot-*/net/attachments`],
    ['its record, and it was renamed', `rm -rf ${stateDir}; ip link set ${link} name other0`],
  ];
  for (const [command, ...args] of [['verify', '--repair'], ['gc']] as const)
    for (const [what, script] of losses)
      test(`lost: ${what}; \`${[command, ...args].join(' ')}\` writes it again`, async () => {
        await host.sh(script);
        const found = await verify(1);
        assert.ok(
          words(found).some(line => line.startsWith('shop/web: its record in the state folder is lost')),
          words(found).join('\n'),
        );
        const { adopted, links } =
          command === 'gc'
            ? await gcAsForetold()
            : (await typeJson<{ readonly repaired: Swept }>(host, [command, ...args], 0)).repaired;
        assert.ok(adopted.some(({ pod }) => pod === 'shop/web'));
        assert.deepEqual(links, []);
        await host.sh(`ip link set other0 name ${link} 2>/dev/null || true`);
        assert.deepEqual((await verify(0)).differences, []);
        assert.deepEqual(await pictured(), whole);
      });

  test('its DEL takes all of it away, and its address is free', async () => {
    const call = await plug('adopted');
    await host.sh(`rm -rf ${stateDir}`);
    assert.equal((await type(host, ['gc'])).exit, 0);
    await silently(host, 'DEL', call);
    assert.deepEqual((await verify(0)).differences, []);
    assert.deepEqual(await pictured(), whole);
  });
});

test('a link that nothing knows is named, and deleted by --force only', async () => {
  const call = await plug('stranger');
  const { mac } = (await tagged(host)).find(({ alias }) => alias?.includes('shop/stranger'))!;
  await host.sh(
    `rm -f ${stateDir}/boot-*/net/attachments/stranger:eth0 ${stateDir}/boot-*/net/claims/*; rm ${runDir}/*.node`,
  );
  const isThere = async () => (await tagged(host)).some(link => link.mac === mac);
  for (const args of [['gc'], ['verify', '--repair']]) {
    const { stdout } = await type(host, args);
    assert.match(stdout, /left: link tg\w+ \(tollgate:shop\/stranger:stranger\).*--force deletes it/);
    assert.ok(await isThere());
  }
  assert.match(words(await verify(1)).join(), /neither a record nor the node's state knows its link/);
  const { links, unknown } = await gcAsForetold('--force');
  assert.deepEqual(
    links.map(({ alias }) => alias),
    ['tollgate:shop/stranger:stranger'],
  );
  assert.deepEqual(unknown, []);
  assert.equal(await isThere(), false);
  await silently(host, 'DEL', call);
  await verify(0, '--repair');
  assert.deepEqual(await pictured(), whole);
});

test('gc undoes what is dead, says so, and leaves the living alone', async () => {
  const before = await pictured();
  const dead = await plug('dead');
  await host.removeNetns(dead.netns);
  const lost = await plug('lost');
  await host.removeNetns(lost.netns);
  await host.sh(`rm ${stateDir}/boot-*/net/attachments/lost:eth0`);
  assert.equal((await verify(1)).fine, false);
  assert.match(
    (await type(host, ['gc', '--dry-run'])).stdout,
    /^would be undone: shop\/dead, eth0 of dead in network net: its interface is gone; it holds 10\.77\.0\.\d+, /m,
  );
  const swept = await gcAsForetold();
  assert.deepEqual(
    swept.undone.map(({ containerID, why }) => [containerID, why]),
    [['dead', 'its interface is gone']],
  );
  assert.equal(swept.undone[0]!.addresses.length, 2);
  assert.equal(swept.released.length, 2);
  assert.deepEqual(swept.links, []);
  assert.deepEqual(swept.failures, []);
  assert.deepEqual(await pictured(), before);
  assert.match((await type(host, ['gc'])).stdout, /^Nothing to take away/);
  await silently(host, 'DEL', lost);
});

test('another owner’s node is refused, and nothing is changed', async () => {
  const elsewhere = ['--state-dir', '/run/test/elsewhere', '--run-dir', runDir];
  for (const args of [['gc'], ['verify', '--repair'], ['policy', 'apply']]) {
    const { exit, stderr } = await host.run([tollgate, ...args, ...elsewhere]);
    assert.equal(exit, 3);
    assert.match(stderr, /it belongs to enforcer inline, stateDir \/run\/test\/state/);
  }
  assert.deepEqual(await pictured(), whole);
});

test('a node without pods is fine, and has nothing to take away', async () => {
  await silently(host, 'DEL', web);
  await silently(host, 'DEL', { config: labelled({ app: 'front' }), containerID: 'front' });
  assert.deepEqual((await verify(0)).differences, []);
  assert.match((await type(host, ['gc'])).stdout, /^Nothing to take away/);
});
