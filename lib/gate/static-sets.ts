/** The sets and maps that the static chains look into, without their elements. */
import type { Datatype, NamedSet } from '../nft/model.ts';
import { RETURN } from '../nft/statements.ts';
import { isJudged, type Judge } from './settings.ts';

/**
 * A packet that ordered rules judge must not meet one set from before a change and another from after it. In the middle of a
 * ruleset a packet goes on with the rules of its beginning. Each change makes the map that these name anew, and empties the map
 * of before; but one that, for the packets of each port, only allows more or only less, which such a packet may see in part.
 */
export const MOMENT = 'moment';
/** The chain that looks into it, and is filled anew with it. */
export const ONE_MOMENT = 'one-moment';
const NFPROTO = { ipv4: 2, ipv6: 10 } as const;

const set = (name: string, key: readonly Datatype[], comment: string, interval = false): NamedSet => ({
  name,
  key,
  comment,
  ...(interval ? { interval } : {}),
  elements: [],
});

/** Its one element is the number that the state file has, too. */
export const markerSet: NamedSet = set('marker', ['mark'], 'the state file that this table goes with');

/** @see MOMENT */
const momentMap: NamedSet = {
  ...set(MOMENT, ['nf_proto'], 'made anew with each change of what is judged'),
  value: 'verdict',
  elements: Object.values(NFPROTO).map(family => ({ key: [family], value: RETURN })),
};

const addressSets: readonly NamedSet[] = ([4, 6] as const).flatMap(family => {
  const address: Datatype = family === 4 ? 'ipv4_addr' : 'ipv6_addr';
  const value: readonly Datatype[] = [address, 'inet_service'];
  return [
    set(`self${family}`, [address, address], 'each pod to itself'),
    set(`own${family}`, ['iface_index', address], 'each pod by its interface, under its own address'),
    set(`masq${family}`, [address], 'subnets of pods with ipMasq', true),
    set(`nomasq${family}`, [address], 'what they reach under their own address', true),
    { ...set(`hostports${family}`, [address, 'inet_proto', 'inet_service'], 'hostPorts with a hostIP'), value },
    {
      ...set(`hostports${family}_any`, ['inet_proto', 'inet_service'], "hostPorts on all of the node's addresses"),
      value,
    },
  ];
});

const byTag = (name: string, comment: string): NamedSet => ({
  ...set(name, ['devgroup'], comment),
  value: 'verdict',
});
const counts = (name: string, comment: string): NamedSet => ({
  ...set(name, ['devgroup'], comment),
  value: 'counter',
});

const judgedMaps: readonly NamedSet[] = [
  byTag('egress_by_tag', "what a pod may open, by its interface's group"),
  byTag('ingress_by_tag', "what may be opened to a pod, by its interface's group"),
  counts('egress_counts', 'what pods opened or tried to, each identity for itself'),
  counts('ingress_counts', 'what was opened to pods or tried to be, each identity for itself'),
];

const orderedMaps: readonly NamedSet[] = [
  byTag('egress_tiers_by_tag', 'what cluster policies let a pod open where NetworkPolicies have no say'),
  byTag('ingress_tiers_by_tag', 'what cluster policies let be opened to a pod where NetworkPolicies have no say'),
  momentMap,
];

const isOwn = ({ name }: NamedSet): boolean => name.startsWith('own');

/** The sets and maps that the static chains look into, without their elements: the same objects each time, not to be compared. */
export const gateSets = (judge: Judge, isOrdered: boolean): readonly NamedSet[] => [
  ...(judge === 'none' ? addressSets.filter(each => !isOwn(each)) : addressSets),
  ...(isJudged({ judge }) ? judgedMaps : []),
  ...(isOrdered ? orderedMaps : []),
  markerSet,
];
