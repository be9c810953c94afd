/** Finds which owner holds this network namespace, for a command that has no CNI configuration to read it from. */

import { parseOwner, TABLE } from '../gate/desired.ts';
import type { Owner } from '../gate/node-state.ts';
import type { GateSettings, Judge } from '../gate/settings.ts';
import { Nft } from '../kernel/nft.ts';
import type { Table } from '../nft/model.ts';
import type { NodeStore } from '../nodestore/node-store.ts';

export interface FoundNode {
  readonly owner: Owner;
  readonly settings: GateSettings;
}

const judgeOf = ({ enforcer }: Owner): Judge =>
  enforcer === 'inline' || enforcer === 'agent' || enforcer === 'none' ? enforcer : 'exec';

/** The settings that a table was made with, as far as it shows them. */
function settingsIn(table: Table, owner: Owner): GateSettings {
  const statements = table.chains.flatMap(({ rules }) => rules.flatMap(rule => rule.statements));
  const log = statements.find(({ kind }) => kind === 'log');
  return {
    judge: judgeOf(owner),
    nflogGroup: log?.kind === 'log' ? log.group : 7467,
    enforceEgressToNode: table.chains.some(({ name }) => name === 'node-gate'),
  };
}

/** By the node's record, else by the table itself; undefined where no pod is plugged in. */
export function findNode(store: NodeStore): FoundNode | undefined {
  const file = store.read();
  if (file) return file.state;
  using nft = Nft.open();
  const table = nft.readTable('inet', TABLE);
  const owner = table?.comment === undefined ? undefined : parseOwner(table.comment);
  return table && owner && { owner, settings: settingsIn(table, owner) };
}
