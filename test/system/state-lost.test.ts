/**
 * Files of the state and runtime folders are lost while pods run: no pod ever gets what was another's, also
 * where a worker keeps in mind what it wrote.
 */
import assert from 'node:assert/strict';
import test, { suite } from 'node:test';
import { isIdentity } from '../../lib/tag/tag.ts';
import { labelled, named, type } from '../support/cli-host.ts';
import {
  add,
  addresses,
  type Call,
  cni,
  config,
  type Json,
  policies,
  runDir,
  silently,
  startHost,
  stateDir,
  type Verb,
} from '../support/cni.ts';
import type { Host } from '../support/host.ts';
import { random, seedOf } from '../support/random.ts';
import { links, tagged } from '../support/snapshot.ts';
import { until } from '../support/until.ts';
import { inWays } from '../support/way.ts';

const onlyFromOk = `apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { name: deny, namespace: shop }
spec: { podSelector: { matchLabels: { role: victim } }, ingress: [{ from: [{ podSelector: { matchLabels: { role: ok } } }] }] }
`;

interface Pod extends Call {
  readonly netns: string;
  readonly role: string;
  readonly address: string;
  /** Of the node's end: what tells links apart whatever they are called. */
  readonly mac: string;
}

async function plug(host: Host, name: string, role: string, more: Json = {}): Promise<Pod> {
  const call = {
    config: labelled({ role }, more),
    containerID: name,
    netns: await host.pod(),
    args: named('shop', name),
  };
  const result = await add(host, call);
  return { ...call, role, address: addresses(result)[0]!, mac: result.interfaces![0]!.mac };
}

const linkOf = async (host: Host, { mac }: Pod) => (await tagged(host)).find(link => link.mac === mac);

async function crosses(host: Host, from: Pod, to: Pod): Promise<boolean> {
  const ping = ['ping', '-n', '-c', '1', '-W', '1', to.address];
  return (await host.run(ping, { netns: from.netns })).exit === 0;
}

/** Links with one tag are pods' of one identity, which here is a role. */
async function assertOneRoleATag(host: Host, roles: ReadonlyMap<string, string>, context: string): Promise<void> {
  const byTag = new Map<number, string>();
  for (const { group, mac, name } of await tagged(host)) {
    if (!isIdentity(group)) continue;
    const role = roles.get(mac) ?? `of an unknown link ${name}`;
    assert.equal(role, byTag.get(group) ?? role, `two roles have tag ${group.toString(16)} ${context}`);
    byTag.set(group, role);
  }
}

const harms = (file: string): readonly string[] => [
  `rm -f ${file}`,
  `: >${file}`,
  `echo null >${file}`,
  `rm -f ${file}; mkdir ${file}`,
  `ln -sf /run/nowhere ${file}`,
  `truncate -s $(($(stat -c %s ${file}) / 2)) ${file}`,
];

const TURNS = 40;
const ROLES = ['ok', 'bad', 'victim', 'stranger'];

inWays(['alone', 'worker'], way => {
  suite('a tag that a living link carries is given to nobody else', () => {
    const losses: readonly (readonly [what: string, script: string])[] = [
      ['the state folder and the runtime folder', `rm -rf ${stateDir} ${runDir}`],
      [
        "the node's record, and one pod's record is empty",
        `rm ${runDir}/*.node; : >$(echo ${stateDir}/boot-*/net/attachments/ok:eth0)`,
      ],
      [
        "what is in the node's record, and one pod's record is empty",
        `: >$(echo ${runDir}/*.node); : >$(echo ${stateDir}/boot-*/net/attachments/ok:eth0)`,
      ],
      ['everything, the table included', `rm -rf ${stateDir} ${runDir}; nft delete table inet tollgate`],
    ];
    for (const [what, script] of losses)
      test(`lost: ${what}`, async () => {
        using host = await startHost({ way });
        host.write(`${policies}/deny.yaml`, onlyFromOk);
        const victim = await plug(host, 'victim', 'victim');
        const others = [await plug(host, 'bad', 'bad'), await plug(host, 'ok', 'ok')];
        await host.sh(script);
        const next = await plug(host, 'next', 'stranger');
        const pods = [victim, ...others, next];
        await assertOneRoleATag(host, new Map(pods.map(({ mac, role }) => [mac, role])), what);
        assert.equal(await crosses(host, next, victim), false, 'the new pod may do what another was allowed');
        for (const pod of pods) await silently(host, 'DEL', pod);
        assert.deepEqual(await tagged(host), []);
      });

    test('a link that outlived its DEL: a namespace was lost, a name changed, numbers begin again', async () => {
      using host = await startHost({ way });
      host.write(`${policies}/deny.yaml`, onlyFromOk);
      const ok = await plug(host, 'ok', 'ok');
      const { name, group } = (await linkOf(host, ok))!;
      await host.sh(`ip link set ${name} name old0; rm -rf ${stateDir} ${runDir}`);
      // No record, no name and no namespace: no process can tell that this link is meant.
      await silently(host, 'DEL', { ...ok, netnsPath: '' });
      const victim = await plug(host, 'victim', 'victim');
      assert.notEqual((await linkOf(host, victim))!.group, group);
      const next = await plug(host, 'next', 'bad');
      await assertOneRoleATag(host, new Map([ok, victim, next].map(({ mac, role }) => [mac, role])), 'after it');
    });
  });

  suite('whatever is lost, no pod that goes opens a gate, and the table goes with the last', { concurrency: 4 }, () => {
    const lost = `rm -rf ${stateDir} ${runDir}`;
    const ungated = `nft delete table inet tollgate; rm -rf ${runDir}/*.*`;
    const flushed = `nft flush table inet tollgate; rm -rf ${runDir}/*.*`;
    const elsewhere: Json = { runDir: '/run/elsewhere' };
    const known = { config: config(), containerID: 'known', netnsPath: '' };
    const keeps = ['victim', 'bad'].map(containerID => ({ containerID, ifname: 'eth0' }));
    const collect = (host: Host) => silently(host, 'GC', { config: config({ 'cni.dev/valid-attachments': keeps }) });
    const command = async (host: Host, ...args: readonly string[]) =>
      assert.ok([0, 1].includes((await type(host, args)).exit!), args.join(' '));
    const events: readonly (readonly [
      what: string,
      more: Json,
      script: string,
      event: (host: Host) => Promise<unknown>,
    ])[] = [
      ['DEL, both folders lost', {}, lost, host => silently(host, 'DEL', known)],
      [
        'DEL of a stranger, both folders lost',
        {},
        lost,
        host => silently(host, 'DEL', { ...known, containerID: 'no' }),
      ],
      ['`tollgate gc`, both folders lost', {}, lost, host => command(host, 'gc')],
      ['`tollgate policy apply`, both folders lost', {}, lost, host => command(host, 'policy', 'apply')],
      ['`tollgate verify --repair`, both folders lost', {}, lost, host => command(host, 'verify', '--repair')],
      ['DEL, the runtime folder lost', {}, `rm -rf ${runDir}`, host => silently(host, 'DEL', known)],
      ['`tollgate gc`, the runtime folder lost', {}, `rm -rf ${runDir}`, host => command(host, 'gc')],
      ['DEL, the manifests in force lost', {}, `rm ${runDir}/*.applied`, host => silently(host, 'DEL', known)],
      ['GC, the manifests in force lost', {}, `rm ${runDir}/*.applied`, collect],
      ['`tollgate gc`, the manifests in force lost', {}, `rm ${runDir}/*.applied`, host => command(host, 'gc')],
      ['DEL, the table and the runtime folder lost', {}, ungated, host => silently(host, 'DEL', known)],
      ['GC, the table and the runtime folder lost', {}, ungated, collect],
      ['DEL, the table flushed and the runtime folder lost', {}, flushed, host => silently(host, 'DEL', known)],
      ['GC, the table flushed and the runtime folder lost', {}, flushed, collect],
      ['`tollgate gc`, the table and the runtime folder lost', {}, ungated, host => command(host, 'gc')],
      [
        '`tollgate verify --repair`, the table and the runtime folder lost',
        {},
        ungated,
        host => command(host, 'verify', '--repair'),
      ],
      [
        '`tollgate policy apply`, the table and the runtime folder lost',
        {},
        ungated,
        host => command(host, 'policy', 'apply'),
      ],
      ['DEL by the runDir of before', elsewhere, '', host => silently(host, 'DEL', known)],
      ['GC by the runDir of before', elsewhere, '', collect],
    ];
    for (const [what, more, script, event] of events)
      test(what, async () => {
        using host = await startHost({ way });
        host.write(`${policies}/deny.yaml`, onlyFromOk);
        const pods = [await plug(host, 'known', 'ok')];
        for (const role of ['victim', 'bad']) pods.push(await plug(host, role, role, more));
        const [, victim, bad] = pods;
        await host.sh(script);
        await event(host);
        assert.equal(await crosses(host, bad!, victim!), false, 'what was denied is allowed');
        for (const pod of pods) await silently(host, 'DEL', pod);
        // Of two records of one node each may speak of pods that have gone by the other.
        for (const folder of [elsewhere, {}])
          await silently(host, 'GC', { config: config({ ...folder, 'cni.dev/valid-attachments': [] }) });
        await host.sh('! nft list table inet tollgate 2>/dev/null');
      });
  });

  test('questions about policy are not answered from what is lost, and are again when it is made anew', async () => {
    using host = await startHost({ way });
    host.write(`${policies}/deny.yaml`, onlyFromOk);
    for (const role of ['victim', 'bad']) await plug(host, role, role);
    const questions = [
      ['explain', '--from', 'shop/bad', '--to', 'shop/victim', '--port', '80/TCP'],
      ['matrix', '--port', '80/TCP'],
      ['list'],
    ];
    const asked = async () => await Promise.all(questions.map(question => type(host, ['policy', ...question])));
    for (const [kind, words] of [
      ['applied', /which policies are in force: the file that keeps them is lost/],
      ['node', /its record is lost/],
    ] as const) {
      let answers: Awaited<ReturnType<typeof asked>> = [];
      // A worker that has just heard of the folder, or of a commit, makes the file anew meanwhile.
      await until('the questions to be asked while it is lost', async () => {
        await host.sh(`rm -f ${runDir}/*.${kind}`);
        answers = await asked();
        return !host.files(runDir).some(file => file.endsWith(`.${kind}`));
      });
      for (const { exit, stdout, stderr } of answers) {
        assert.deepEqual([exit, stdout], [3, '']);
        assert.match(stderr, words);
      }
      await type(host, ['verify', '--repair']);
      const [explained] = await asked();
      assert.match(explained!.stdout, /denied/);
    }
  });

  test(`files are lost at random between ${TURNS} random calls: links of one tag have one role, and all of them go in the end`, async t => {
    const seed = seedOf(t);
    const next = random(seed);
    const pick = <T>(from: readonly T[]): T => from[Math.floor(next() * from.length)]!;
    using host = await startHost({ way });
    host.write(`${policies}/deny.yaml`, onlyFromOk);
    const roles = new Map<string, string>();
    const alive: Pod[] = [];
    const said: string[] = [];
    const files = () =>
      [...host.files(stateDir), ...host.files(runDir)].filter(file => !/\.lock$|cni\.sock/.test(file));
    for (let turn = 0; turn < TURNS; turn++) {
      const chance = next();
      if (chance < 0.4 && alive.length < 10) {
        const pod = await plug(host, `pod${turn}`, pick(ROLES));
        roles.set(pod.mac, pod.role);
        alive.push(pod);
        said.push(`ADD ${pod.containerID} ${pod.role}`);
      } else if (chance < 0.55 && alive.length > 0) {
        const [pod] = alive.splice(Math.floor(next() * alive.length), 1);
        await silently(host, 'DEL', pod!);
        said.push(`DEL ${pod!.containerID}`);
      } else if (chance < 0.6) {
        const kept = alive.map(({ containerID }) => ({ containerID, ifname: 'eth0' }));
        await silently(host, 'GC', { config: labelled({}, { 'cni.dev/valid-attachments': kept }) });
        said.push('GC');
      } else if (chance < 0.7 && alive.length > 0) {
        const link = await linkOf(host, pick(alive));
        if (link) await host.sh(`ip link set ${link.name} name renamed${turn}`);
        said.push(`renamed ${link?.name}`);
      } else if (chance < 0.75) {
        await host.sh('nft delete table inet tollgate 2>/dev/null || true');
        said.push('no table');
      } else {
        const lost = files();
        const script = lost.length === 0 ? 'true' : pick(harms(pick(lost)));
        await host.sh(script);
        said.push(script);
      }
      await assertOneRoleATag(host, roles, `(SEED=${seed})\n${said.join('\n')}`);
    }
    for (const pod of alive) {
      const verb: Verb = 'DEL';
      const { exit, stdout } = await cni(host, verb, pod);
      assert.equal(exit, 0, `${stdout} (SEED=${seed})\n${said.join('\n')}`);
    }
    assert.deepEqual(await tagged(host), [], `SEED=${seed}\n${said.join('\n')}`);
    // A worker deletes links in its own time.
    await until('all links to be gone', async () => !(await links(host)).some(({ mac }) => roles.has(mac)));
  });
});
