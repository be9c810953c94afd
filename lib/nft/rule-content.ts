/** What a rule is, in the kernel's own bytes: to tell it from another one that has its handle. */
import { readMessage } from './reader.ts';
import { NFTA_RULE, names } from './wire.ts';

export interface RuleContent {
  readonly chain: string;
  readonly handle: number;
  /** Its expressions in their order, but for those that count, which change with each packet. */
  readonly expressions: readonly Uint8Array[];
}

/** NFTA_EXPR_NAME, with which the kernel begins each expression: behind the attribute's length and type. */
const NAME_AT = 4;
const COUNTER = [...'counter\0'].map(character => character.charCodeAt(0));

const isCounter = (expression: Uint8Array): boolean => COUNTER.every((byte, i) => expression[NAME_AT + i] === byte);

/** From NFT_MSG_NEWRULE; whole expressions, since there may be thousands of rules. */
export const ruleContentIn = (body: Uint8Array): RuleContent =>
  readMessage(body, names.rule, rule => ({
    chain: rule.text(NFTA_RULE.CHAIN) ?? '',
    handle: rule.number(NFTA_RULE.HANDLE) ?? 0,
    expressions: rule.list(NFTA_RULE.EXPRESSIONS).filter(expression => !isCounter(expression)),
  }));
