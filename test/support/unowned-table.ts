/** The agent's table in a network namespace of a test's own, where other programs can change it, and no agent watches it. */
import { LiveTable } from '../../lib/enforce/live-table.ts';
import { type LocalPod, podKey, withPod } from '../../lib/gate/node-state.ts';
import { inNetns } from '../../lib/kernel/netns.ts';
import { Nft } from '../../lib/kernel/nft.ts';
import { LiveRules } from '../../lib/policy/compile/live.ts';
import { untaggedPod } from './local-pod.ts';
import { MapStore } from './map-store.ts';
import { makeNetns } from './netns.ts';

export const settings = { judge: 'agent', nflogGroup: 7467, enforceEgressToNode: false } as const;

/** Each has an address of its own, and one of fifty roles. */
export const numberedPod = (number: number): Omit<LocalPod, 'tag'> =>
  untaggedPod(`pod-${number}`, {
    labels: { role: `role-${number % 50}` },
    addresses: [`10.0.${number >> 8}.${number & 255}`],
  });

export class UnownedTable implements Disposable {
  readonly netns = makeNetns();
  readonly nft = inNetns(this.netns, () => Nft.open());
  readonly rules = new LiveRules();
  readonly said: string[] = [];
  readonly table = new LiveTable({
    ...{ store: new MapStore(), settings, rules: this.rules, nft: this.nft },
    owner: { enforcer: 'agent', stateDir: '/state', policies: '/policies' },
    own: false,
    log: line => void this.said.push(line),
    ...{ recover: () => ({}), isCarried: () => false, retag: () => {}, shrunk: () => {} },
  });

  /** Every pod is reached by pods of the namespace alone. */
  constructor() {
    this.rules.setPolicy({
      ...{ kind: 'NetworkPolicy', namespace: 'default', name: 'own', subject: { requirements: [] } },
      ingress: [
        { index: 0, peers: [{ kind: 'pods', namespace: 'default', pods: { requirements: [] } }], ports: 'any' },
      ],
    });
  }

  [Symbol.dispose](): void {
    this.nft[Symbol.dispose]();
    this.netns[Symbol.dispose]();
  }

  /** Brings the pod into the table, as an ADD does before it opens the pod. */
  async open(number: number): Promise<LocalPod> {
    const pod = numberedPod(number);
    await this.table.bring(state => withPod(state, pod, () => false).state, { opening: [podKey(pod)] });
    return this.table.state.pods[podKey(pod)]!;
  }

  /** Other programs commit all the time in tables of their own. */
  disturb(): void {
    this.netns.exec('nft', ['add table inet another; delete table inet another']);
  }
}
