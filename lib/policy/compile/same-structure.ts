/** Whether two structures say the same, and for the same reasons. */
import { identityKey } from '../../tag/identity.ts';
import type { Structure } from './compile.ts';
import { gatesText, type RuleChain } from './ruleset.ts';

const originsOf = ({ origins }: RuleChain['rules'][number]): string =>
  origins.map(({ policy, direction, index }) => `${policy} ${direction} ${index}`).join();

/** Whether two chains of one name, which match the same, come from the same policies and rules. */
const sameChain = (a: RuleChain, b: RuleChain | undefined): boolean =>
  a === b ||
  (b !== undefined &&
    a.policies.join() === b.policies.join() &&
    a.rules.every((rule, i) => rule === b.rules[i] || originsOf(rule) === originsOf(b.rules[i]!)));

/** True for structures with the same chains, tags and sets; sets are compared by name, which their selectors determine. */
export function sameStructure(a: Structure, b: Structure): boolean {
  if (a.chains.size !== b.chains.size || a.tags.size !== b.tags.size) return false;
  for (const chain of a.chains.values()) if (!sameChain(chain, b.chains.get(chain.name))) return false;
  for (const [tag, entry] of a.tags) {
    const { identity } = entry;
    const other = b.tags.get(tag);
    if (!other || gatesText(entry) !== gatesText(other)) return false;
    if (other.identity !== identity && identityKey(other.identity) !== identityKey(identity)) return false;
  }
  return true;
}
