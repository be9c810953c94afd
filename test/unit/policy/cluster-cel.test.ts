/**
 * What upstream's definition refuses by rules in CEL, lint tells, since `--with-crds --no-cel` leaves these out: each row is a
 * rule at its place, and an object that it refuses.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { parse } from 'yaml';
import { lint } from '../../../lib/policy/lint/lint.ts';

const file = new URL('../../../conf/network-policy-api/clusternetworkpolicies.yaml', import.meta.url);

interface Schema {
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly items?: Schema;
  readonly 'x-kubernetes-validations'?: readonly { readonly rule: string }[];
}

interface Version {
  readonly name: string;
  readonly schema: { readonly openAPIV3Schema: Schema };
}

const { versions } = (parse(readFileSync(file, 'utf8')) as { readonly spec: { readonly versions: readonly Version[] } })
  .spec;

/** `spec.egress[].to[].networks[]: isCIDR(self)`, of a schema and all that is in it. */
function rulesIn(schema: Schema, path = ''): readonly string[] {
  const own = (schema['x-kubernetes-validations'] ?? []).map(({ rule }) => `${path}: ${rule.replaceAll(/\s+/g, ' ')}`);
  const fields = Object.entries(schema.properties ?? {}).flatMap(([key, each]) =>
    rulesIn(each, path === '' ? key : `${path}.${key}`),
  );
  return [...own, ...fields, ...(schema.items ? rulesIn(schema.items, `${path}[]`) : [])];
}

const pods = { egress: ['to', [{ namespaces: {} }]], ingress: ['from', [{ namespaces: {} }]] } as const;

interface Row {
  readonly rule: string;
  /** Each refused object has one rule of this; `taken` is what the rule takes. */
  readonly direction: 'ingress' | 'egress';
  readonly refused: object;
  readonly taken: object;
  readonly field: string;
  readonly says: RegExp;
}

/** In each direction, of each protocol. */
const ranges = (['ingress', 'egress'] as const).flatMap(direction =>
  ['tcp', 'udp', 'sctp'].map((protocol): Row => {
    const [side, peers] = pods[direction];
    const ruleOf = (start: number, end: number) => ({
      [side]: peers,
      protocols: [{ [protocol]: { destinationPort: { range: { start, end } } } }],
    });
    const place = `protocols[].${protocol}.destinationPort.range`;
    return {
      rule: `spec.${direction}[].${place}: self.start < self.end`,
      direction,
      refused: ruleOf(80, 80),
      taken: ruleOf(80, 81),
      field: `spec.${direction}[0].${place.replace('[]', '[0]')}`,
      says: /80 to 80 is no range/,
    };
  }),
);

const cidr = 'spec.egress[].to[].networks[]: isCIDR(self) && cidr(self) == cidr(self).masked()';
const networks = (text: string) => ({ to: [{ networks: [text] }] });
const inCidr = {
  rule: cidr,
  direction: 'egress',
  taken: networks('10.0.0.0/8'),
  field: 'spec.egress[0].to[0].networks[0]',
} as const;

const byName = (peer: object) => ({ to: [{ namespaces: {} }, peer], protocols: [{ destinationNamedPort: 'http' }] });
const named = {
  rule: 'spec.egress[]: !(self.to.exists(peer, has(peer.networks) || has(peer.nodes) || has(peer.domainNames)) && has(self.protocols) && self.protocols.exists(protocol, has(protocol.destinationNamedPort)))',
  direction: 'egress',
  taken: byName({ namespaces: { matchLabels: { a: 'b' } } }),
  field: 'spec.egress[0].protocols',
  says: /A port by name beside peers that are no pods/,
} as const;

const rows: readonly Row[] = [
  ...ranges,
  { ...inCidr, refused: networks('10.0.0.0/33'), says: /is no CIDR/ },
  { ...inCidr, refused: networks('ten'), says: /is no CIDR/ },
  { ...inCidr, refused: networks('::ffff:10.0.0.0/104'), says: /is IPv4 written as IPv6/ },
  {
    ...inCidr,
    refused: networks('010.0.0.0/8'),
    says: /leading zeros, .* API servers refuse them: write "10.0.0.0\/8"/,
  },
  { ...inCidr, refused: networks('10.1.0.0/8'), says: /An address within the network, .*: write 10\.0\.0\.0\/8/ },
  { ...inCidr, refused: networks('fd00::1/64'), says: /An address within the network, .*: write fd00::\/64/ },
  { ...named, refused: byName({ networks: ['10.0.0.0/8'] }) },
  { ...named, refused: byName({ nodes: {} }) },
  { ...named, refused: byName({ domainNames: ['example.com'] }) },
];

for (const { name, schema } of versions)
  test(`each rule in CEL of ${name} has a row, and each row a rule`, () => {
    const rules = new Set(rulesIn(schema.openAPIV3Schema));
    assert.ok(rules.size > 0);
    assert.deepEqual([...new Set(rows.map(({ rule }) => rule))].sort(), [...rules].sort());
  });

const toldOf = (version: string, { direction, field }: Row, rule: object): readonly string[] => {
  const value = {
    apiVersion: `policy.networking.k8s.io/${version}`,
    ...{ kind: 'ClusterNetworkPolicy', metadata: { name: 'x' } },
    spec: { tier: 'Admin', priority: 1, subject: { namespaces: {} }, [direction]: [{ action: 'Accept', ...rule }] },
  };
  return lint([{ file: 'x.yaml', document: 0, value }], { least: 'warning' })
    .filter(problem => problem.severity === 'error' || problem.field === field)
    .map(({ message }) => message);
};

for (const { name } of versions)
  for (const row of rows)
    test(`lint tells what ${name} refuses: ${row.rule}: ${JSON.stringify(row.refused)}`, () => {
      assert.match(toldOf(name, row, row.refused).join('\n'), row.says);
      assert.deepEqual(toldOf(name, row, row.taken), []);
    });
