/** What the table costs one process for one call, on a node of 1,000 pods with an identity and a policy each. */
import { mkdtempSync, rmSync } from 'node:fs';
import { FolderTable } from '../../../lib/enforce/folder-table.ts';
import { type LocalPod, type NodeState, podKey, withoutPod, withPod } from '../../../lib/gate/node-state.ts';
import { inNetns } from '../../../lib/kernel/netns.ts';
import { Nft } from '../../../lib/kernel/nft.ts';
import { DiskNodeStore } from '../../../lib/nodestore/disk-store.ts';
import type { Kept } from '../../../lib/nodestore/policy-folder.ts';
import { makeNetns } from '../../support/netns.ts';
import type { LoadGroup } from '../load-report.ts';
import { podOf, policyFor } from '../nft.ts';

const [pods, rounds] = [1000, 30];
const never = () => false;

class InlineNode implements Disposable {
  readonly #netns = makeNetns();
  readonly #nft = inNetns(this.#netns, () => Nft.open());
  /** In memory, as a node has it. */
  readonly #runDir = mkdtempSync('/run/inline-');
  readonly #kept: Kept = {
    policies: {
      stamp: '1',
      isPodless: true,
      documents: Array.from({ length: pods + 1 }, (_, i) => ({ file: 'policies', document: i, value: policyFor(i) })),
    },
  };

  constructor() {
    const numbers = Array.from({ length: pods }, (_, i) => i);
    const all = (state: NodeState) => numbers.reduce((now, i) => withPod(now, podOf(i), never).state, state);
    this.#open().bring(all, { kept: this.#kept });
  }

  /** As a process opens it that remembers nothing. */
  #open(): FolderTable {
    return new FolderTable({
      store: new DiskNodeStore(this.#runDir, { dev: 4, ino: 1 }),
      owner: { enforcer: 'inline', stateDir: '/state', policies: '/policies' },
      settings: { judge: 'inline', nflogGroup: 7467, enforceEgressToNode: false },
      nft: () => this.#nft,
      log: line => console.error(line),
      ...{ recover: () => ({}), isCarried: never, isAnyTagged: never, retag: () => {} },
    });
  }

  /** Milliseconds of processor time, kernel included. The manifests are understood already. */
  #timed(change: (state: NodeState) => NodeState, key: string, coming?: Omit<LocalPod, 'tag'>): number {
    const start = process.cpuUsage();
    this.#open().bring(change, { kept: this.#kept, asFound: !coming, only: [{ key, ...(coming ? { coming } : {}) }] });
    const { user, system } = process.cpuUsage(start);
    return (user + system) / 1000;
  }

  /** One pod that comes and goes: of the quietest round, since whatever disturbs one only adds to it. */
  costOf(app: number): { readonly add: number; readonly del: number } {
    const times = Array.from({ length: rounds }, (_, round) => {
      const pod = podOf(60_000 + round, app);
      const key = podKey(pod);
      const add = this.#timed(state => withPod(state, pod, never).state, key, pod);
      return { add, del: this.#timed(state => withoutPod(state, key), key) };
    });
    return { add: Math.min(...times.map(({ add }) => add)), del: Math.min(...times.map(({ del }) => del)) };
  }

  [Symbol.dispose](): void {
    this.#nft[Symbol.dispose]();
    this.#netns[Symbol.dispose]();
    rmSync(this.#runDir, { recursive: true });
  }
}

export const group: LoadGroup = async say => {
  using node = new InlineNode();
  say('an identity that is known');
  const known = node.costOf(7);
  say('an identity that is new');
  const fresh = node.costOf(pods);
  const unit = 'ms of the processor';
  const where = `the table's part of one process for one call, ${pods} pods with a policy each`;
  return [
    { what: `${where}: ADD, identity known`, asked: { atMost: 3 }, figure: known.add, unit, before: 17.5 },
    { what: `${where}: DEL, identity stays`, asked: { atMost: 3 }, figure: known.del, unit },
    { what: `${where}: ADD, identity new`, asked: { atMost: 31 }, figure: fresh.add, unit, before: 47 },
    { what: `${where}: DEL, identity goes`, asked: { atMost: 31 }, figure: fresh.del, unit },
  ];
};
