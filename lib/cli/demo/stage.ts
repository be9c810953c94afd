/** The demonstration's node: a network and files of its own, pods as processes, and tollgate called as runtimes call it. */
import { existsSync, readdirSync } from 'node:fs';
import { setLink } from '../../kernel/link.ts';
import { must } from '../../kernel/message.ts';
import { NetlinkSocket } from '../../kernel/netlink.ts';
import { Nft } from '../../kernel/nft.ts';
import { unshareFolder, unshareNetwork } from '../../kernel/unshare.ts';
import { allLinks } from '../../pod/links.ts';
import { makeFolders } from '../../state/make-folders.ts';
import { runOwn } from '../program.ts';
import type { TestPod } from '../test-pod/pod-process.ts';

/** Folders in the private /run, so that the commands of the demonstration need no options. */
const stateDir = '/run/tollgate/state';
export const policies = '/run/tollgate/policies';

/** One of the commands that a person types. @throws Error where it fails */
export async function type(args: readonly string[], expected = 0): Promise<string> {
  const { exit, stdout, stderr } = await runOwn(args);
  if (exit !== expected) throw new Error(`tollgate ${args.join(' ')} failed: ${stderr}${stdout}`);
  return stdout.toString();
}

/** A call's duration, in milliseconds. */
export interface Timed {
  readonly ms: number;
}

interface AddResult {
  readonly ips: readonly { readonly address: string }[];
}

export class Stage {
  readonly families: readonly (4 | 6)[];
  readonly #results = new Map<string, AddResult>();

  /** From here on this process and all that it starts are in a world of their own. @throws SyscallError without root */
  static enter(): Stage {
    unshareNetwork();
    unshareFolder('/run');
    makeFolders(policies, 0o755);
    using socket = NetlinkSocket.open('route');
    must(socket.exchange([setLink({ name: 'lo' }, { up: true })]));
    return new Stage(existsSync('/proc/sys/net/ipv6') ? [4, 6] : [4]);
  }

  private constructor(families: readonly (4 | 6)[]) {
    this.families = families;
  }

  #config(pod: TestPod): string {
    const subnets = { 4: '10.88.0.0/24', 6: 'fd88::/64' } as const;
    return JSON.stringify({
      cniVersion: '1.1.0',
      name: 'demo',
      type: 'tollgate',
      stateDir,
      policies,
      ipam: { type: 'tollgate-ipam', ranges: this.families.map(family => [{ subnet: subnets[family] }]) },
      runtimeConfig: { labels: pod.labels },
      ...(this.#results.has(pod.ref) ? { prevResult: this.#results.get(pod.ref) } : {}),
    });
  }

  /** A CNI call, as a container runtime makes it. @throws Error where it fails */
  async call(verb: 'ADD' | 'CHECK' | 'DEL', pod: TestPod): Promise<Timed> {
    const env = {
      CNI_COMMAND: verb,
      CNI_CONTAINERID: `demo-${pod.name}`,
      CNI_NETNS: pod.netns,
      CNI_IFNAME: 'eth0',
      CNI_PATH: '/opt/cni/bin',
      CNI_ARGS: `IgnoreUnknown=1;K8S_POD_NAMESPACE=${pod.namespace};K8S_POD_NAME=${pod.name}`,
    };
    const start = performance.now();
    const ended = await runOwn([], { env, input: this.#config(pod) });
    if (ended.exit !== 0) throw new Error(`${verb} of ${pod.ref} failed: ${ended.stdout}${ended.stderr}`);
    if (verb === 'ADD') {
      const result = JSON.parse(ended.stdout.toString()) as AddResult;
      this.#results.set(pod.ref, result);
      pod.addresses = result.ips.map(({ address }) => address.split('/')[0]!);
    }
    return { ms: performance.now() - start };
  }

  /** Packets that the gate's policy chains have dropped so far. */
  dropped(): bigint {
    using nft = Nft.open();
    const counts = nft.readRuleCounts({ family: 'inet', name: 'tollgate' });
    const ofPolicies = counts.filter(({ chain }) => /^(in|out)-/.test(chain));
    return ofPolicies.reduce((sum, { counted }) => sum + counted.packets, 0n);
  }

  /** Everything that tollgate could have left behind, in words. */
  leftovers(): string[] {
    using socket = NetlinkSocket.open('route');
    using nft = Nft.open();
    const links = allLinks(socket.exchange).filter(({ name }) => name.startsWith('tg'));
    const chains = nft.baseChains();
    const files = readdirSync(stateDir, { recursive: true, withFileTypes: true })
      .filter(entry => entry.isFile() && /\/(attachments|claims)$/.test(entry.parentPath))
      .map(entry => `${entry.parentPath}/${entry.name}`);
    return [
      ...links.map(({ name }) => `link ${name}`),
      ...chains.map(({ table, name }) => `chain ${name} of table ${table}`),
      ...files.map(path => `file ${path}`),
    ];
  }
}
