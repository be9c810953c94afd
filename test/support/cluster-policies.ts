/** Random cluster policies as manifests, of all kinds and both versions, that meet the pods of `worlds.ts`. */
import fc from 'fast-check';
import type { Manifest } from './worlds.ts';

export interface Materials {
  readonly selector: fc.Arbitrary<object>;
  readonly prefixes: readonly string[];
}

const ranges = [
  { start: 50, end: 80 },
  { start: 80, end: 81 },
  { start: 1, end: 65535 },
];

const number = fc.constantFrom(53, 80, 81, 8080);
const portName = fc.constantFrom('http', 'http', 'alt', 'dns');

const protocolOfToday = fc.oneof(
  {
    weight: 3,
    arbitrary: fc
      .tuple(
        fc.constantFrom('tcp', 'tcp', 'udp', 'sctp'),
        fc.oneof(fc.record({ number }), fc.record({ range: fc.constantFrom(...ranges) })),
      )
      .map(([protocol, destinationPort]): object => ({ [protocol]: { destinationPort } })),
  },
  { weight: 1, arbitrary: fc.record({ destinationNamedPort: portName }) },
);

const protocol = fc.constantFrom('TCP', 'TCP', 'UDP', 'SCTP');
const portOfOld = fc.oneof(
  fc.record({ portNumber: fc.record({ protocol, port: number }, { requiredKeys: ['port'] }) }),
  fc
    .tuple(protocol, fc.constantFrom(...ranges))
    .map(([of, range]): object => ({ portRange: { protocol: of, ...range } })),
  fc.record({ namedPort: portName }),
);

function peers({ selector, prefixes }: Materials, side: 'from' | 'to'): fc.Arbitrary<object> {
  const pods = [
    { weight: 4, arbitrary: fc.record({ namespaces: selector }) },
    { weight: 4, arbitrary: fc.record({ pods: fc.record({ namespaceSelector: selector, podSelector: selector }) }) },
  ];
  if (side === 'from') return fc.oneof(...pods);
  const networks = fc.subarray([...prefixes], { minLength: 1, maxLength: 2 });
  return fc.oneof(
    ...pods,
    { weight: 3, arbitrary: fc.record({ networks }) },
    { weight: 2, arbitrary: fc.record({ nodes: selector }) },
  );
}

interface Kind {
  readonly apiVersion: string;
  readonly kind: string;
  readonly actions: readonly string[];
  readonly ports: 'protocols' | 'ports';
  readonly place: fc.Arbitrary<object>;
}

/** Few, so that some are equal. */
const priority = fc.constantFrom(0, 1, 2, 1000);

const kinds: readonly Kind[] = [
  ...(['Admin', 'Baseline'] as const).map(tier => ({
    ...{ apiVersion: 'policy.networking.k8s.io/v1alpha2', kind: 'ClusterNetworkPolicy' },
    ...{ actions: ['Accept', 'Deny', 'Pass'], ports: 'protocols' as const },
    place: priority.map(at => ({ tier, priority: at })),
  })),
  {
    ...{ apiVersion: 'policy.networking.k8s.io/v1alpha1', kind: 'AdminNetworkPolicy' },
    ...{ actions: ['Allow', 'Deny', 'Pass'], ports: 'ports', place: priority.map(at => ({ priority: at })) },
  },
  {
    ...{ apiVersion: 'policy.networking.k8s.io/v1alpha1', kind: 'BaselineAdminNetworkPolicy' },
    ...{ actions: ['Allow', 'Deny'], ports: 'ports', place: fc.constant({}) },
  },
];

function rule(materials: Materials, { actions, ports }: Kind, side: 'from' | 'to'): fc.Arbitrary<object> {
  const list = fc.array<object>(ports === 'protocols' ? protocolOfToday : portOfOld, {
    ...{ minLength: 1, maxLength: 3, size: 'max' as const },
  });
  return fc.record(
    {
      action: fc.constantFrom(...actions),
      [side]: fc.array(peers(materials, side), { minLength: 1, maxLength: 3, size: 'max' }),
      [ports]: list,
    },
    { requiredKeys: ['action', side], noNullPrototype: true },
  );
}

function policy(materials: Materials, kind: Kind): fc.Arbitrary<object> {
  const { selector } = materials;
  const subject = fc.oneof(
    fc.record({ namespaces: selector }),
    fc.record({ pods: fc.record({ namespaceSelector: selector, podSelector: selector }) }),
  );
  const rules = (side: 'from' | 'to') => fc.array(rule(materials, kind, side), { maxLength: 4, size: 'max' });
  return fc
    .record({ place: kind.place, subject, ingress: rules('from'), egress: rules('to') })
    .map(({ place, ...rest }) => ({ ...place, ...rest }));
}

/** Up to `most` of them, each with a name of its own. */
export const clusterPolicies = (materials: Materials, most: number): fc.Arbitrary<readonly Manifest[]> =>
  fc
    .array(
      fc.constantFrom(...kinds).chain(kind => policy(materials, kind).map(spec => ({ kind, spec }))),
      {
        ...{ minLength: Math.min(1, most), maxLength: most, size: 'max' as const },
      },
    )
    .map(list =>
      list.map(({ kind: { apiVersion, kind }, spec }, i) => ({ apiVersion, kind, metadata: { name: `c${i}` }, spec })),
    );
