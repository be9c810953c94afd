/** Manifests as text: JSON has a way of its own, and must mean what it means as YAML. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { readYaml } from '../../../lib/policy/manifest/yaml.ts';

const valuesIn = (text: string): unknown => {
  const { documents, problems } = readYaml(text, 'f.json');
  assert.deepEqual(problems, []);
  return documents.map(({ value }) => value);
};

/** The same text where YAML alone can read it. */
const asYaml = (json: string): string => `---\n${json}`;

test('JSON is read as YAML reads it', () => {
  const json = fc.oneof(
    fc.array(fc.jsonValue({ maxDepth: 4 })),
    fc.dictionary(fc.string(), fc.jsonValue({ maxDepth: 4 })),
  );
  fc.assert(
    fc.property(json, fc.constantFrom(0, 2), (value, indent) => {
      const text = JSON.stringify(value, null, indent);
      assert.deepEqual(valuesIn(text), valuesIn(asYaml(text)));
    }),
    { numRuns: 300 },
  );
});

const broken: readonly (readonly [what: string, text: string, problem: RegExp])[] = [
  ['a key that stands twice', '{"kind": "Pod", "spec": {"a": 1, "b": "\\"a\\": {", "a": 2}}', /unique/],
  ['a key that stands twice, escaped in one way and another', '{"a": 1, "\\u0061": 2}', /unique/],
  ['half a file', '{"kind": "Pod", ', /./],
];

for (const [what, text, problem] of broken)
  test(`JSON with ${what} is a problem`, () => {
    const { documents, problems } = readYaml(text, 'f.json');
    assert.deepEqual(documents, []);
    assert.match(problems[0]!.message, problem);
  });

test('documents one after the other, and YAML in flow style, are not taken for JSON', () => {
  assert.deepEqual(valuesIn('{"a": 1}\n---\n{"b": 2}\n'), [{ a: 1 }, { b: 2 }]);
  assert.deepEqual(valuesIn('{a: yes}'), [{ a: true }]);
});

test('one slip is one problem, however many words follow it', () => {
  const { problems } = readYaml('metadata: { name: x }}\nspec: { tier: Admin, priority: 1 }\n', 'f.yaml');
  assert.deepEqual(
    problems.map(({ message }) => message),
    ['Unexpected flow-map-end token in YAML stream: "}" at line 1, column 22'],
  );
});
