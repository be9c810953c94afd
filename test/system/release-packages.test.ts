/** .deb and .rpm: installed, upgraded and removed in a copy of this system that the test throws away, with pods plugged in. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { test } from 'node:test';
import { callAllTheTime, conflist, deb, fileOf, lacks, Packaged, plugin, rpm, system } from '../support/packaged.ts';

const closed = JSON.stringify({
  ...{ apiVersion: 'networking.k8s.io/v1', kind: 'NetworkPolicy', metadata: { name: 'deny', namespace: 'closed' } },
  spec: { podSelector: {}, policyTypes: ['Ingress'] },
});
const units = 'tollgate-agent.socket tollgate-agent.service tollgate-kubernetes-agent.service';
const restarts = ['daemon-reload', 'try-restart tollgate-agent.service tollgate-kubernetes-agent.service'];
const stops = ['--quiet disable --now tollgate-agent.socket tollgate-agent.service tollgate-kubernetes-agent.service'];

for (const packager of [deb, rpm]) {
  const { suffix, older, install, upgrade, remove } = packager;
  test(`.${suffix}: an upgrade leaves pods and the admin's conflist alone; a removal leaves gates closed, and nothing else once pods are gone`, {
    skip: lacks(packager),
  }, async () => {
    using node = await Packaged.start();
    await node.host.sh(`cp ${fileOf(packager)} /run/new.${suffix}`);
    await node.sh(older);
    assert.match(await node.sh(install), /^What to do next: tollgate verify$/m);
    assert.deepEqual(node.files('/opt/cni/bin'), plugin);
    assert.equal(
      await node.sh(`systemd-analyze verify --man=no ${units} 2>&1`),
      '',
      'what systemd has to say of the units',
    );
    assert.deepEqual(node.files('/etc/cni'), [], 'the network is for the admin to choose');
    assert.deepEqual(await node.asked(), restarts);

    assert.match(await node.sh('kubectl-tollgate --help'), /^kubectl tollgate /);
    await node.sh('tollgate install');
    const changed = node.read(conflist).replace('"ipMasq": true', '"ipMasq": true, "mtu": 1400');
    await node.sh(`cat >${conflist} <<'E'\n${changed}E`);
    await node.sh(`cat >/etc/tollgate/policies/deny.yaml <<'E'\n${closed}\nE`);
    await node.plugIn('closed', 'web');
    await node.plugIn('open', 'client');
    assert.equal(await node.reaches('client', 'web'), false);

    const ended = callAllTheTime(node, 'CNI_COMMAND=VERSION /opt/cni/bin/tollgate </dev/null');
    assert.doesNotMatch(await node.sh(upgrade), /What to do next/);
    const { calls, failures } = await ended();
    assert.ok(calls > 0);
    assert.deepEqual(failures, [], `of ${calls} calls during the upgrade`);
    assert.deepEqual(await node.asked(), restarts);
    assert.equal(node.read(conflist), changed);
    assert.ok(!node.files('/usr/share/doc/tollgate').includes('/usr/share/doc/tollgate/only-old'));
    assert.equal(await node.reaches('client', 'web'), false);
    await node.plugIn('open', 'late');
    assert.deepEqual([await node.reaches('client', 'late'), await node.reaches('late', 'web')], [true, false]);

    assert.match(await node.sh(`${remove} 2>&1`), /^Plugged in here: .*closed\/web/m);
    assert.deepEqual(await node.asked(), stops);
    assert.ok(!existsSync(node.host.path(`${system}/usr/bin/tollgate`)));
    assert.equal(node.read(conflist), changed);
    assert.deepEqual([await node.reaches('client', 'late'), await node.reaches('client', 'web')], [true, false]);

    for (const [namespace, name] of [
      ['closed', 'web'],
      ['open', 'client'],
      ['open', 'late'],
    ] as const)
      await node.unplug(namespace, name);
    await node.sh('/opt/cni/bin/tollgate uninstall --no-conflist');
    assert.deepEqual(node.files('/opt/cni/bin'), []);
    assert.equal((await node.host.sh('nft list tables')).trim(), '');

    await node.sh(upgrade);
    await node.sh(remove);
    assert.deepEqual(node.files('/opt/cni/bin'), []);
    assert.equal(node.read(conflist), changed);
  });
}
