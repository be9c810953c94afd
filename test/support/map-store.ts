/** A node's store in memory, for tests that need no disk. */
import type { Judging } from '../../lib/gate/judging.ts';
import type { LocalPod, Owner } from '../../lib/gate/node-state.ts';
import type { NodeRecord, NodeStore } from '../../lib/nodestore/node-store.ts';
import type { Kept } from '../../lib/nodestore/policy-folder.ts';
import type { RulesIndex } from '../../lib/policy/compile/rules-index.ts';

interface Values {
  readonly record?: NodeRecord | undefined;
  readonly applied?: Kept | undefined;
  readonly index?: { readonly marker: number; readonly rules: RulesIndex } | undefined;
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

  folder(): string | undefined {
    return this.#values.record?.folder;
  }

  read(): NodeRecord | undefined {
    return this.#values.record;
  }

  /** The record with all pods: more than asked for does no harm. */
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

  readIndex(marker: number | undefined): RulesIndex | undefined {
    const { index } = this.#values;
    return index?.marker === marker ? index?.rules : undefined;
  }

  writeIndex(marker: number, rules: RulesIndex): void {
    this.#values = { ...this.#values, index: { marker, rules } };
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
