/** What is said of a node's attachments where calls end between the looks at links, state, records and locks. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { type LocalPod, type NodeState, podKey } from '../../lib/gate/node-state.ts';
import { createVeth, deleteLink, setLink } from '../../lib/kernel/link.ts';
import { must } from '../../lib/kernel/message.ts';
import { NetlinkSocket } from '../../lib/kernel/netlink.ts';
import { currentNetns, inNetns } from '../../lib/kernel/netns.ts';
import { homeOf, type PodFacts, writeFacts } from '../../lib/pod/facts.ts';
import { inventory } from '../../lib/pod/inventory.ts';
import { allLinks, findLink } from '../../lib/pod/links.ts';
import { type Attachment, lockAttachment } from '../../lib/state/attachment.ts';
import { openStore } from '../../lib/state/store.ts';
import { formatAlias } from '../../lib/tag/alias.ts';
import { hostInterfaceName } from '../../lib/tag/link-name.ts';
import { condemned, quarantine } from '../../lib/tag/tag.ts';
import { untaggedPod } from '../support/local-pod.ts';
import { makeNetns } from '../support/netns.ts';
import { scratchFolder } from '../support/scratch.ts';

const netns = makeNetns();
const podNetns = makeNetns();
const socket = inNetns(netns, () => NetlinkSocket.open('route'));
after(() => {
  socket[Symbol.dispose]();
  podNetns[Symbol.dispose]();
  netns[Symbol.dispose]();
});
const host = socket.exchange;
const place = { host, here: inNetns(netns, currentNetns) };
const tag = quarantine + 1;

/** A pod, whose attachment is locked, as a call of it does one step after the other. */
class Call implements Disposable {
  readonly store = openStore(scratchFolder());
  readonly pod: LocalPod;
  #attachment: Attachment | undefined;

  private constructor(link?: string) {
    const pod = untaggedPod('web', { namespace: 'shop', name: 'web', addresses: ['10.77.0.2'] });
    this.pod = { ...pod, link: link ?? hostInterfaceName(pod), tag };
  }

  static async begun(kind: PodFacts['kind'] = 'veth', link?: string): Promise<Call> {
    const call = new Call(link);
    const create = { phase: 'adding', ...writeFacts({ kind, home: homeOf(place.here) }) } as const;
    call.#attachment = (await lockAttachment(call.store, call.pod, { timeoutMs: 60_000, create }))!.attachment;
    return call;
  }

  async makesLink(): Promise<void> {
    const { link: name, namespace, name: pod, containerID } = this.pod;
    const mac = { mac: '02:00:00:00:00:01', mtu: 1500 };
    const peer = { name: 'eth0', mac: '02:00:00:00:00:02', mtu: 1500 };
    await createVeth(async requests => host(requests), {
      name,
      ...mac,
      group: quarantine,
      peer: { ...peer, netns: podNetns.fd },
    });
    this.sets({ alias: formatAlias({ namespace, pod, containerID }) });
    this.writes({ link: name, pod: { ...this.pod, ...this.#ifindex() } });
  }

  #ifindex() {
    const { ifindex } = findLink(host, { name: this.pod.link })!;
    return { ifindex };
  }

  sets(change: Parameters<typeof setLink>[1]): void {
    must(host([setLink({ name: this.pod.link }, change)]));
  }

  writes(facts: Partial<PodFacts>): void {
    this.#attachment!.append(writeFacts(facts));
  }

  /** ADD comes to its end. */
  opens(): void {
    this.sets({ group: tag });
    this.#attachment!.append({ phase: 'ready' });
    this.ends();
  }

  ends(): void {
    this.#attachment?.[Symbol.dispose]();
    this.#attachment = undefined;
  }

  /** DEL comes to its end: the record goes last. */
  forgets(): void {
    this.#attachment!.remove();
    this.ends();
  }

  /** The node's state; it calls back once it is asked for the pod, whose record has been read by then. */
  state(asked: () => void): NodeState {
    let turn = asked;
    const pods = {
      get [podKey(this.pod)]() {
        turn();
        turn = () => {};
        return undefined;
      },
    };
    return { pods } as unknown as NodeState;
  }

  removesLink(): void {
    if (findLink(host, { name: this.pod.link })) must(host([deleteLink({ name: this.pod.link })]));
  }

  [Symbol.dispose](): void {
    this.removesLink();
    this.ends();
  }

  /** The standings of what is found, with the name of its link. */
  found(links = allLinks(host), state: NodeState | undefined = undefined): readonly (string | undefined)[][] {
    return inventory(links, this.store, place, state).map(({ standing, link }) => [standing, link?.name]);
  }
}

test('an ADD under way, and one that ends after its record was read', async () => {
  using call = await Call.begun();
  await call.makesLink();
  const { link } = call.pod;
  assert.deepEqual(call.found(), [['busy', link]]);
  assert.deepEqual(
    call.found(
      allLinks(host),
      call.state(() => call.opens()),
    ),
    [['plugged', link]],
  );
});

test('an ADD that makes its link and ends after links were listed', async () => {
  const links = allLinks(host);
  using call = await Call.begun();
  await call.makesLink();
  call.opens();
  assert.deepEqual(call.found(links), [['plugged', call.pod.link]]);
});

test('an ADD that ends after its link was listed in quarantine', async () => {
  using call = await Call.begun();
  await call.makesLink();
  const links = allLinks(host);
  call.opens();
  assert.deepEqual(call.found(links), [['plugged', call.pod.link]]);
});

test('a DEL that ends after links were listed', async () => {
  using call = await Call.begun();
  await call.makesLink();
  const links = allLinks(host);
  call.removesLink();
  call.forgets();
  assert.deepEqual(call.found(links), []);
});

test('a DEL that ends after its record was read', async () => {
  using call = await Call.begun();
  await call.makesLink();
  const ended = () => {
    call.removesLink();
    call.forgets();
  };
  assert.deepEqual(call.found(allLinks(host), call.state(ended)), []);
});

test('after the DEL of a chained pod, its link is left to the plugin that made it', async () => {
  using call = await Call.begun('chained', 'veth1234');
  await call.makesLink();
  call.sets({ group: condemned });
  assert.deepEqual(call.found(), [['busy', 'veth1234']]);
  call.forgets();
  assert.deepEqual(call.found(), []);
});
