import { commandGroup } from '../command.ts';
import { policyApply } from './apply.ts';
import { policyDiff } from './diff.ts';
import { policyExplain } from './explain.ts';
import { policyLint } from './lint.ts';
import { policyList } from './list.ts';
import { policyMatrix } from './matrix.ts';
import { policySuggest } from './suggest.ts';

export const policy = commandGroup('policy', 'Try policies, and put them into force', [
  policyList,
  policyLint,
  policyMatrix,
  policyExplain,
  policyDiff,
  policyApply,
  policySuggest,
]);
