/** The owner of a table: one network namespace has one enforcer. */
import { CniError, codes } from '../cni/error.ts';
import { formatEnforcer, type NodeSettings } from '../cni/own-keys.ts';
import { parseOwner } from '../gate/desired.ts';
import type { Owner } from '../gate/node-state.ts';
import type { GateSettings } from '../gate/settings.ts';
import type { Table } from '../nft/model.ts';

const describeOwner = ({ enforcer, stateDir, policies }: Owner): string =>
  `enforcer ${enforcer}, stateDir ${stateDir}, policies ${policies}`;

export const isSameOwner = (a: Owner, b: Owner): boolean => describeOwner(a) === describeOwner(b);

/** @throws CniError code 7 where it is another one's; nothing where there is none */
export function refuseOtherOwner(owner: Owner, found: Owner | undefined): void {
  if (!found || isSameOwner(found, owner)) return;
  throw new CniError(
    codes.invalidConfig,
    `Cannot share this node's table: it belongs to ${describeOwner(found)}; this network says ${describeOwner(owner)}`,
    'one network namespace has one enforcer: make the configurations agree, or delete the pods of the other first',
  );
}

export const ownerIn = (table: Table | undefined): Owner | undefined =>
  table?.comment === undefined ? undefined : parseOwner(table.comment);

export const ownerOf = (config: NodeSettings): Owner => ({
  enforcer: formatEnforcer(config.enforcer),
  stateDir: config.stateDir,
  policies: config.policies,
});

export const settingsOf = ({ enforcer, nflogGroup, enforceEgressToNode }: NodeSettings): GateSettings => ({
  judge: enforcer.kind,
  nflogGroup,
  enforceEgressToNode,
});
