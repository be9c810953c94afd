/** The index of rules as a file: what policies came to, read back only where it is whole. */
import type { Range } from '../ip/address.ts';
import { type IndexedGate, isConsistent, type RulesIndex } from '../policy/compile/rules-index.ts';
import type {
  AddressSetSpec,
  BlockSetSpec,
  ChainRule,
  NamedPortSetSpec,
  NodeSetSpec,
  Pair,
  PairSetSpec,
  PortMatch,
  PortSpan,
  RuleChain,
  SetRef,
} from '../policy/compile/ruleset.ts';
import type { LabelSelector, PodPeer, PortName, Protocol, Requirement, RuleRef } from '../policy/model/model.ts';
import { parseJson } from '../state/atomic.ts';
import {
  either,
  isCount,
  isText,
  listOf,
  objectOf,
  oneOf,
  optional,
  pairOf,
  type Shape,
  such,
  within,
} from '../state/shape.ts';
import { isIdentityKey } from '../tag/identity.ts';
import { isMarker } from './shapes.ts';

interface RulesFile {
  /** Marker of the first table that had these rules. */
  readonly marker: number;
  readonly index: RulesIndex;
}

/** JSON knows no large numbers. */
const toText = (_: string, value: unknown): unknown => (typeof value === 'bigint' ? { bigint: String(value) } : value);
const fromText = (_: string, value: unknown): unknown =>
  value !== null && typeof value === 'object' && 'bigint' in value ? BigInt(value.bigint as string) : value;

export const rulesText = (rules: RulesFile): string => JSON.stringify(rules, toText);

const isSelector = objectOf<LabelSelector>({
  requirements: listOf(
    objectOf<Requirement>({
      key: isText,
      operator: oneOf('In', 'NotIn', 'Exists', 'DoesNotExist'),
      values: listOf(isText),
    }),
  ),
});
const isPodPeers = listOf(
  objectOf<PodPeer>({ kind: oneOf('pods'), namespace: either(isText, isSelector), pods: isSelector }),
);
const isProtocol = oneOf<Protocol>('TCP', 'UDP', 'SCTP');
const isBig: Shape<bigint> = value => typeof value === 'bigint';
const isFamily = oneOf(4, 6);
const isRange = objectOf<Range>({ family: isFamily, first: isBig, last: isBig });
const named = { name: isText, family: oneOf(4, 6), comment: isText };
const isAddressSet = objectOf<AddressSetSpec>({ ...named, kind: oneOf('addresses'), pods: isPodPeers });
const isNamedPortSet = objectOf<NamedPortSetSpec>({
  ...named,
  kind: oneOf('tuples'),
  whose: either(
    objectOf<{ kind: 'pods'; pods: readonly PodPeer[] }>({ kind: oneOf('pods'), pods: isPodPeers }),
    objectOf<{ kind: 'ranges'; ranges: readonly Range[] }>({
      kind: oneOf('ranges'),
      ranges: listOf(isRange),
    }),
  ),
  names: listOf(objectOf<PortName>({ protocol: isProtocol, name: isText })),
});
const isPairSet = objectOf<PairSetSpec>({
  ...named,
  kind: oneOf('tuples'),
  whose: objectOf<PairSetSpec['whose']>({
    kind: oneOf('pairs'),
    pairs: listOf(objectOf<Pair>({ pods: isPodPeers, protocol: isProtocol, ports: listOf(isCount) })),
  }),
});
const isBlockSet = objectOf<BlockSetSpec>({ ...named, kind: oneOf('ranges'), ranges: listOf(isRange) });
const isDirection = oneOf('ingress', 'egress');
const isOrigin = objectOf<RuleRef>({ policy: isText, direction: isDirection, index: isCount, name: optional(isText) });
const isSpan = objectOf<PortSpan>({ first: within(0, 65535), last: within(0, 65535) });
const isNodeSet = objectOf<NodeSetSpec>({ ...named, kind: oneOf('nodes'), nodes: listOf(isSelector) });
const isChainRule = objectOf<ChainRule>({
  to: optional(isText),
  peers: either(
    oneOf('any'),
    objectOf<SetRef>({ kind: oneOf('addresses', 'nodes', 'ranges', 'tuples'), family: isFamily, name: isText }),
  ),
  ports: either(oneOf('any'), objectOf<PortMatch>({ protocol: isProtocol, spans: listOf(isSpan) })),
  counter: optional(isText),
  origins: listOf(isOrigin),
});
const isChain = objectOf<RuleChain>({
  name: isText,
  direction: isDirection,
  rules: listOf(isChainRule),
  policies: listOf(isText),
  otherwise: optional(isText),
  denies: optional(
    objectOf<NonNullable<RuleChain['denies']>>({ tier: oneOf('Admin', 'Baseline'), rules: listOf(isOrigin) }),
  ),
});
const isGate = objectOf<IndexedGate>({ gate: isText, chains: listOf(isCount), sets: listOf(isText) });
const isIndex = objectOf<RulesIndex>({
  names: listOf(pairOf(isText, isText)),
  specs: listOf(either(either(isAddressSet, isNodeSet), either(isBlockSet, either(isNamedPortSet, isPairSet)))),
  chains: listOf(isChain),
  gates: listOf(isGate),
  identities: listOf(pairOf(such(isText, isIdentityKey), listOf(isCount))),
});
const isRules = objectOf<RulesFile>({ marker: isMarker, index: such(isIndex, isConsistent) });

/** The rules in the file's text; undefined where the file is none of ours. */
export function rulesIn(text: string | undefined): RulesFile | undefined {
  const found = parseJson(text, text?.includes('"bigint":') ? fromText : undefined);
  return found.kind === 'value' && isRules(found.value) ? found.value : undefined;
}
