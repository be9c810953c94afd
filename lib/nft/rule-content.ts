/** What a rule is, in the kernel's own bytes: to tell it from another one that has its handle. */
import { readMessage } from './reader.ts';
import { NFTA_EXPR, NFTA_RULE, names } from './wire.ts';

export interface RuleContent {
  readonly chain: string;
  readonly handle: number;
  /** Names and attributes of its expressions, in their order, without what they have counted. */
  readonly parts: readonly Uint8Array[];
}

/** From NFT_MSG_NEWRULE. */
export const ruleContentIn = (body: Uint8Array): RuleContent =>
  readMessage(body, names.rule, rule => {
    const parts: Uint8Array[] = [];
    rule.each(NFTA_RULE.EXPRESSIONS, names.expression, expression => {
      const attributes = expression.text(NFTA_EXPR.NAME) === 'counter' ? [] : [NFTA_EXPR.DATA];
      for (const type of [NFTA_EXPR.NAME, ...attributes]) parts.push(expression.get(type) ?? new Uint8Array());
    });
    return { chain: rule.text(NFTA_RULE.CHAIN) ?? '', handle: rule.number(NFTA_RULE.HANDLE) ?? 0, parts };
  });
