/** Whether two structures say the same, and for the same reasons. */
import { identityKey } from '../../tag/identity.ts';
import type { Structure } from './compile.ts';
import { gatesText, type RuleChain } from './ruleset.ts';

const originsOf = ({ origins }: RuleChain['rules'][number]): string =>
  origins.map(({ policy, direction, index }) => `${policy} ${direction} ${index}`).join();

/** Of two chains of one name, which match the same: whether they do so for the same reasons. */
const sameChain = (a: RuleChain, b: RuleChain | undefined): boolean =>
  a === b ||
  (b !== undefined &&
    a.policies.join() === b.policies.join() &&
    a.rules.every((rule, i) => rule === b.rules[i] || originsOf(rule) === originsOf(b.rules[i]!)));

/** Of sets only the names are in it: they are made of what the sets select. */
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
