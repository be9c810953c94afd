import { commandGroup } from './command.ts';
import { policyApply } from './policy-apply.ts';
import { policyDiff } from './policy-diff.ts';
import { policyExplain } from './policy-explain.ts';
import { policyLint } from './policy-lint.ts';
import { policyList } from './policy-list.ts';
import { policyMatrix } from './policy-matrix.ts';

export const policy = commandGroup('policy', 'Try policies, and put them into force', [
  policyList,
  policyLint,
  policyMatrix,
  policyExplain,
  policyDiff,
  policyApply,
]);
