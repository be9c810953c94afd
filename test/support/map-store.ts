/** A node's store in memory, for tests that need no disk. */
import type { Judging } from '../../lib/gate/judging.ts';
import type { LocalPod, Owner } from '../../lib/gate/node-state.ts';
import type { NodeRecord, NodeStore } from '../../lib/nodestore/node-store.ts';
import type { Peers } from '../../lib/nodestore/peers.ts';
import type { Kept } from '../../lib/nodestore/policy-folder.ts';

interface Values {
  readonly record?: NodeRecord | undefined;
  readonly applied?: Kept | undefined;
  readonly peers?: Peers | undefined;
  readonly judging?: Judging | undefined;
}

export class MapStore implements NodeStore {
  #values: Values = {};
  #writes = 0;

  #set(values: Values): void {
    this.#values = values;
    this.#writes++;
  }

  async lock(): Promise<Disposable> {
    return { [Symbol.dispose]() {} };
  }

  owner(): Owner | undefined {
    return this.#values.record?.state.owner;
  }

  read(): NodeRecord | undefined {
    return this.#values.record;
  }

  /** Of all pods: more than asked for does no harm. */
  readConcerned(): NodeRecord | undefined {
    const { record } = this.#values;
    return record?.state.leaving || record?.state.uncut ? undefined : record;
  }

  find(key: string): LocalPod | undefined {
    return this.#values.record?.state.pods[key];
  }

  stamp(): string {
    return String(this.#writes);
  }

  write(record: NodeRecord): void {
    this.#set({ ...this.#values, record });
  }

  forget(): void {
    this.#set({ applied: this.#values.applied });
  }

  removeAll(): void {
    this.#set({});
  }

  readApplied(): Kept {
    return this.#values.applied ?? none;
  }

  writeApplied(applied: Kept): void {
    this.#set({ ...this.#values, applied });
  }

  readPeers(marker: number): Peers | undefined {
    const { peers } = this.#values;
    return peers?.marker === marker ? peers : undefined;
  }

  writePeers(peers: Peers): void {
    this.#values = { ...this.#values, peers };
  }

  findJudging(marker: number | undefined): Judging | undefined {
    const { judging } = this.#values;
    return judging?.marker === marker ? judging : undefined;
  }

  writeJudging(judging: Judging): void {
    this.#values = { ...this.#values, judging };
  }
}

const none: Kept = {};
