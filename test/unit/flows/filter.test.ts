import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type Filterable, FilterError, matchesPattern, parseFilter } from '../../../lib/flows/filter.ts';

const web = { name: 'shop/web-1', address: '10.0.0.2', namespace: 'shop', pod: 'web-1' };
const db = { name: 'data/db-0', address: 'fd00::3', namespace: 'data', pod: 'db-0' };

const flow: Filterable = {
  ...{ from: web, to: db, protocol: 'TCP', port: 5432, verdict: 'allowed' },
  sentTo: { address: '10.96.0.7', port: 15_432 },
  egress: { by: [] },
  ingress: { by: ['NetworkPolicy/data/db'] },
};

const rows: [filter: string, passes: boolean, why: string][] = [
  ['', true, 'no word leaves anything out'],
  ['ns:shop', true, 'the namespace of the one end'],
  ['ns:data', true, 'or of the other'],
  ['ns:mon', false, 'and of no third'],
  ['ns:mon ns:shop', true, 'words of one kind widen each other'],
  ['ns:shop port:80', false, 'words of different kinds narrow each other'],
  ['ns:shop -ns:data', false, 'a minus leaves out whatever else holds'],
  ['-ns:mon', true, 'a minus alone lets all others pass'],
  ['pod:web*', true, 'a star stands for any text'],
  ['pod:shop/web*', true, 'with its namespace'],
  ['pod:data/web*', false, 'which is that of the same end'],
  ['pod:web', false, 'a name is a whole name'],
  ['port:5432', true, 'the port where it went'],
  ['port:15432', true, 'and where it was sent'],
  ['port:5432/tcp', true, 'with its protocol, in any case'],
  ['port:5432/UDP', false, 'and no other'],
  ['port:5000-5999', true, 'a range'],
  ['port:/TCP', true, 'a protocol alone'],
  ['port:/6', true, 'or its number'],
  ['port:/any', false, 'what sums of all the others have'],
  ['verdict:allowed', true, 'what the kernel did'],
  ['verdict:denied', false, 'and nothing else'],
  ['policy:db', true, 'a policy by its name'],
  ['policy:data/db', true, 'with its namespace'],
  ['policy:NetworkPolicy/data/*', true, 'and its kind'],
  ['policy:shop/db', false, 'of that namespace alone'],
  ['policy:none', false, 'some policy decided'],
  ['ip:10.0.0.0/8', true, 'a prefix with either end in it'],
  ['ip:fd00::3', true, 'an address of either family'],
  ['ip:10.96.0.7', true, 'also where it was sent'],
  ['ip:192.0.2.0/24', false, 'and no other'],
  ['name:data/*', true, 'an end by its name'],
  ['-name:*/db-*', false, 'or by a piece of it'],
];
for (const [text, passes, why] of rows)
  test(`${text || '(nothing)'}: ${why}`, () => assert.equal(parseFilter(text)(flow), passes));

const wrong: [filter: string, says: RegExp][] = [
  ['prot:80', /"prot:80".*ns: pod: port:/],
  ['shop', /"shop"/],
  ['ns:', /"ns:"/],
  ['constructor:x', /"constructor:x"/],
  ['port:http', /port:443\/TCP/],
  ['port:65536', /port:8000-8999/],
  ['port:9000-8000', /port:8000-8999/],
  ['port:443/TPC', /port:443\/TCP/],
  ['port:/256', /port:\/UDP/],
  ['verdict:maybe', /verdict:allowed or verdict:denied/],
  ['ip:10.0.0.300', /ip:10.0.0.0\/8/],
  [Array.from({ length: 51 }, () => 'ns:a').join(' '), /50 at most/],
  [`ns:${'a'.repeat(2000)}`, /2000 at most/],
];
for (const [text, says] of wrong)
  test(`what a filter cannot mean is refused with what to write: ${text.slice(0, 20)}`, () => {
    assert.throws(
      () => parseFilter(text),
      error => error instanceof FilterError && says.test(error.message),
    );
  });

test('a pattern means what the regular expression means in which each star is .*', () => {
  const letters = fc.string({ unit: fc.constantFrom('a', 'b', '*'), maxLength: 8 });
  const text = fc.string({ unit: fc.constantFrom('a', 'b'), maxLength: 10 });
  fc.assert(
    fc.property(letters, text, (pattern, name) => {
      assert.equal(matchesPattern(pattern, name), new RegExp(`^${pattern.replaceAll('*', '.*')}$`).test(name));
    }),
  );
});
