/** Where the objects of each watch go: to the live rules, and pods of this node to its own pods. */
import type { LiveTable } from '../enforce/live-table.ts';
import { concernsRoutes } from '../node/node-network.ts';
import type { LiveRules } from '../policy/compile/live.ts';
import type { OwnPods } from './own-pods.ts';
import type { StagedPolicies } from './staged-policies.ts';
import type { Sinks } from './watches.ts';

export interface SinkOptions {
  readonly staged: StagedPolicies;
  readonly rules: LiveRules;
  readonly own: OwnPods;
  readonly table: LiveTable;
  /** Called when pod CIDRs or addresses of nodes may have changed. */
  readonly nodesChanged: () => void;
}

export const sinksOf = ({ rules, staged, own, table, nodesChanged }: SinkOptions): Sinks => ({
  pods: own.hear,
  namespaces: ({ before, after }) => {
    if (after) rules.setNamespace(after.name, after.labels);
    else if (before) rules.deleteNamespace(before.name);
  },
  policies: ({ before, after }) => {
    table.retryRefused();
    staged.exchange(before?.isStaged ? before : undefined, after?.isStaged ? after : undefined);
    if (after && !after.isStaged) rules.setPolicy(after);
    else if (before && !before.isStaged) rules.deletePolicy(before);
  },
  clusterPolicies: ({ before, after }) => {
    table.retryRefused();
    staged.exchange(before?.isStaged ? before.policy : undefined, after?.isStaged ? after.policy : undefined);
    if (after && !after.isStaged) rules.setClusterPolicy(after.policy);
    else if (before && !before.isStaged) rules.deleteClusterPolicy(before.policy);
  },
  nodes: ({ before, after }) => {
    if (concernsRoutes({ before, after })) nodesChanged();
    if (after) rules.setNode(after);
    else if (before) rules.deleteNode(before.name);
  },
});
