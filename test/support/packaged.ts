/** A copy of this system that a test throws away, in which packages are installed, upgraded and removed. */
import type { ChildProcess } from 'node:child_process';
import { existsSync, readFileSync, rmdirSync } from 'node:fs';
import { parseAddress } from '../../lib/ip/address.ts';
import { inNetns, Netns } from '../../lib/kernel/netns.ts';
import { PROTOCOL } from '../../lib/nft/statements.ts';
import { environment, type Json, type Result } from './cni.ts';
import { folders } from './engines.ts';
import { type Exit, Host } from './host.ts';
import type { Packet } from './packet.ts';
import { arch, releaseDir, version } from './release.ts';
import { NodeEnd, settle, Tap } from './tap.ts';
import { until } from './until.ts';
import { linksOf } from './wired-host.ts';

/**
 * The copy: what is written to it goes to memory, what is read and was not written is this system's. Its index of manual pages
 * is not made anew with each package, which takes longer than the package.
 */
export const system = '/var/lib/tree/root';
const setup = `mkdir -p /var/lib/tree/up /var/lib/tree/work ${system}
  mount -t overlay overlay -o lowerdir=/,upperdir=/var/lib/tree/up,workdir=/var/lib/tree/work ${system}
  mount --make-shared /run
  for d in run proc sys dev; do mount --rbind /$d ${system}/$d; done
  rm -rf ${system}/etc/cni ${system}/etc/tollgate ${system}/opt/cni ${system}/var/lib/tollgate ${system}/var/lib/rpm
  rm -f ${system}/var/lib/man-db/auto-update
  mkdir -p ${system}/etc/tollgate/policies ${system}/var/lib/rpm /run/systemd/system`;

/** Stands for systemctl: writes the calls of the packages' scripts into /run/systemctl. */
const stub = `${system}/usr/bin/systemctl`;
const systemctl = '#!/bin/sh\\necho "$@" >>/run/systemctl\\n';

export const conflist = '/etc/cni/net.d/10-tollgate.conflist';
export const plugin = ['tollgate', 'tollgate-ipam', 'tollgate-node', 'tollgate.rundir'].map(
  name => `/opt/cni/bin/${name}`,
);

/** A control group for a systemd, which takes the uppermost that it sees for its own. */
const group = `/sys/fs/cgroup/${existsSync('/sys/fs/cgroup/cgroup.procs') ? '' : 'systemd/'}tollgate-test-${process.pid}`;
const hierarchy = group.includes('/systemd/') ? '-t cgroup -o none,name=systemd' : '-t cgroup2';

/** A systemd of the copy's own, without a unit of this system: none of them is to touch the machine. */
const boot = `cd ${system}; rm -rf {usr/lib,etc}/systemd/system/*.wants usr/lib/systemd/system/systemd-{sysctl,udevd}*
  echo '[Unit]' >etc/systemd/system/bare.target; echo DefaultDependencies=no >>etc/systemd/system/bare.target
  mkdir -p ${group}; echo $$ >${group}/cgroup.procs
  exec unshare --pid --fork --kill-child=KILL --mount --propagation slave --cgroup --uts --ipc bash -ec '
    mount -t proc proc proc; mount -t sysfs sysfs sys; mount -t tmpfs tmpfs sys/fs/cgroup
    ${group.includes('/systemd/') ? 'mkdir sys/fs/cgroup/systemd; d=systemd' : 'd=.'}; mount ${hierarchy} cgroup sys/fs/cgroup/$d
    exec chroot . env -i container=other PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --unit=bare.target --log-target=null' </dev/null >/run/boot.log 2>&1`;

/** Echo replies that have come to a network namespace, whether or not a program still waited for them. */
function answersIn(netns: Netns): number {
  const text = inNetns(netns, () => readFileSync('/proc/thread-self/net/snmp', 'utf8'));
  const [names, values] = [...text.matchAll(/^Icmp: (.*)$/gm)].map(([, words]) => words!.split(' '));
  return Number(values![names!.indexOf('InEchoReps')]);
}

/** Name of a process's program; that of a process that has ended meanwhile is none. */
function commOf(pid: string): string | undefined {
  try {
    return readFileSync(`/proc/${pid}/comm`, 'utf8');
  } catch {
    return undefined;
  }
}

export class Packaged implements Disposable {
  readonly host: Host;
  /** Prefix of a command that runs in the copy of the system, and among its systemd's processes once that runs. */
  #enter: readonly string[] = ['chroot', system];
  readonly #pods = new Map<string, { readonly netns: string; readonly address: string; readonly gateway: string }>();

  private constructor(host: Host) {
    this.host = host;
  }

  static async start(): Promise<Packaged> {
    const host = await Host.start({ setup });
    await host.sh(`rm -f ${stub}; printf '${systemctl}' >${stub}; chmod +x ${stub}`);
    return new Packaged(host);
  }

  /** Starts a node whose systemd runs units. */
  static async startBooted(): Promise<Packaged> {
    const node = new Packaged(await Host.start({ setup }));
    const booted = node.host.spawn(['bash', '--norc', '-ec', boot]);
    const { pid } = booted;
    // Before it is systemd, it is in the machine's root.
    const init = await until('systemd to be started', () =>
      readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8')
        .trim()
        .split(' ')
        .find(child => commOf(child) === 'systemd\n'),
    );
    node.host.keep(booted);
    node.#enter = ['nsenter', '-t', init, '-m', '-p', '-C', '--root', '--wd=/'];
    await until(
      'systemd to answer',
      async () => (await node.run('timeout 9 systemctl is-active bare.target')).exit === 0,
    );
    return node;
  }

  spawn(script: string): ChildProcess {
    return this.host.spawn([...this.#enter, 'bash', '--norc', '-c', script]);
  }

  run(script: string): Promise<Exit> {
    return this.host.run([...this.#enter, 'bash', '--norc', '-ec', script]);
  }

  sh(script: string): Promise<string> {
    return this.host.must([...this.#enter, 'bash', '--norc', '-ec', script]);
  }

  read(file: string): string {
    return readFileSync(this.host.path(`${system}${file}`), 'utf8');
  }

  files(folder: string): readonly string[] {
    return this.host.files(`${system}${folder}`).map(file => file.slice(system.length));
  }

  callOf(verb: 'ADD' | 'DEL', namespace: string, name: string, netns: string) {
    const { cniVersion, name: network, plugins } = JSON.parse(this.read(conflist)) as Json & { plugins: Json[] };
    const args = `IgnoreUnknown=1;K8S_POD_NAMESPACE=${namespace};K8S_POD_NAME=${name}`;
    const env = { ...environment(verb, { containerID: name, netns, args }), CNI_PATH: '/opt/cni/bin' };
    const input = JSON.stringify({ cniVersion, name: network, ...plugins[0] });
    return { env, input };
  }

  async call(...of: Parameters<typeof this.callOf>): Promise<string> {
    return await this.host.must([...this.#enter, '/opt/cni/bin/tollgate'], this.callOf(...of));
  }

  addressOf(name: string): string {
    return this.#pods.get(name)!.address;
  }

  netnsOf(name: string): string {
    return this.#pods.get(name)!.netns;
  }

  async plugIn(namespace: string, name: string): Promise<void> {
    const netns = await this.host.pod();
    const { ips } = JSON.parse(await this.call('ADD', namespace, name, netns)) as Result;
    const { address, gateway } = ips![0]!;
    this.#pods.set(name, { netns, address: address.split('/')[0]!, gateway: gateway! });
  }

  async unplug(namespace: string, name: string): Promise<void> {
    await this.call('DEL', namespace, name, this.#pods.get(name)!.netns);
  }

  /** Whether a pod's ping is answered. What the node sends after it comes through, so no answer is waited for. */
  async reaches(from: string, to: string): Promise<boolean> {
    using caller = Netns.open(this.host.path(`/run/netns/${this.netnsOf(from)}`));
    const before = answersIn(caller);
    await this.host.run(['ping', '-n', '-c', '1', '-W', '0.01', this.addressOf(to)], { netns: this.netnsOf(from) });
    this.#settle(to);
    return answersIn(caller) > before;
  }

  /** Packets that were sent to the pod before have come to it or never will, and so have the answers. */
  #settle(name: string): void {
    using place = Netns.open(`/proc/${this.host.pid}/ns/net`);
    using pod = Netns.open(this.host.path(`/run/netns/${this.netnsOf(name)}`));
    using node = new NodeEnd(place);
    using tap = new Tap(pod, linksOf(pod).find(link => link.name === 'eth0')!.ifindex, '00:00:00:00:00:00');
    const [from, to] = [this.#pods.get(name)!.gateway, this.addressOf(name)].map(text => parseAddress(text)!);
    const packet: Packet = { from: from!, to: to!, protocol: PROTOCOL.udp, sport: 9, dport: 9 };
    settle(
      tick => node.send({ ...packet, payload: Buffer.from(String(tick)) }),
      () =>
        tap
          .take()
          .filter(({ dport, protocol }) => dport === 9 && protocol === PROTOCOL.udp)
          .map(({ payload }) => Number(Buffer.from(payload ?? []).toString())),
    );
  }

  async asked(): Promise<readonly string[]> {
    const lines = (await this.sh('cat /run/systemctl; rm /run/systemctl')).trim().split('\n');
    return lines;
  }

  [Symbol.dispose](): void {
    this.host[Symbol.dispose]();
  }
}

export interface Packager {
  readonly suffix: 'deb' | 'rpm';
  /** Shell lines that make /run/old of the package at /run/new: an older version, as far as the tool can make one. */
  readonly older: string;
  readonly install: string;
  readonly upgrade: string;
  readonly remove: string;
}

export const deb: Packager = {
  suffix: 'deb',
  older: `dpkg-deb -R /run/new.deb /tmp/old; sed -i 's/^Version: .*/Version: 0.0.1/' /tmp/old/DEBIAN/control
      echo old >/tmp/old/usr/share/doc/tollgate/only-old; dpkg-deb -Znone -b /tmp/old /run/old.deb; rm -r /tmp/old`,
  install: 'dpkg -i /run/old.deb',
  upgrade: 'dpkg -i /run/new.deb',
  remove: 'dpkg -P tollgate',
};

export const rpm: Packager = {
  suffix: 'rpm',
  older: 'cp /run/new.rpm /run/old.rpm',
  // The copy of this system has no database of rpm's that knows a C library.
  install: 'rpm -i --nodeps /run/old.rpm',
  upgrade: 'rpm -U --nodeps --replacepkgs /run/new.rpm',
  remove: 'rpm -e tollgate',
};

/** Path of the package in the release. */
export const fileOf = ({ suffix }: Packager): string => `${releaseDir}/tollgate-${version}-${arch}.${suffix}`;

/** Made where Go is there. */
export const lacks = (packager: Packager): string | false =>
  process.env['CI'] !== 'true' && !existsSync(fileOf(packager)) && `${fileOf(packager)} is not there`;

/** Calls the plugin again and again. @returns what ends it, and says how often it was called and what failed calls printed */
export function callAllTheTime(
  node: Packaged,
  call: string,
): () => Promise<{ readonly calls: number; readonly failures: readonly string[] }> {
  const script = `rm -f /run/enough; calls=0
    while [ ! -e /run/enough ]; do
      calls=$((calls + 1)); said=$( (${call}) 2>&1) || printf 'call %s, code %s: %s\\0' $calls $? "$said"
    done; echo $calls`;
  const child = node.spawn(script);
  let said = '';
  child.stdout!.on('data', (chunk: Buffer) => {
    said += chunk.toString();
  });
  return async () => {
    node.host.write('/run/enough', '');
    await until('the caller to end', () => /(^|\0)\d+\n$/.test(said));
    const [calls, ...failures] = said.split('\0').reverse();
    return { calls: Number(calls), failures };
  };
}

/** Removes the control group of `Packaged.startBooted`; its processes end with the host, though not at once. */
export async function removeGroup(): Promise<void> {
  if (!existsSync(group)) return;
  await until(`${group} to be empty`, () => {
    try {
      for (const path of [...folders(group, 9)].reverse()) rmdirSync(path);
      rmdirSync(group);
      return true;
    } catch (error) {
      if (error instanceof Error && 'code' in error && error.code === 'EBUSY') return false;
      throw error;
    }
  });
}
