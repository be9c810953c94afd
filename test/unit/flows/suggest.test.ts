import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import fc from 'fast-check';
import type { FlowEnd, FlowRecord } from '../../../lib/flows/model.ts';
import { lastingLabels, remediesFor, type SeenFlow, suggest } from '../../../lib/flows/suggest.ts';
import { Cluster } from '../../../lib/policy/evaluate/cluster.ts';
import { evaluate } from '../../../lib/policy/evaluate/evaluate.ts';
import { readManifests } from '../../../lib/policy/manifest/manifest.ts';
import type { Endpoint, Flow, NetworkPolicy, Pod, World } from '../../../lib/policy/model/model.ts';
import { manifests, outside, traffic, worldFrom } from '../../support/worlds.ts';

const end = (name: string, labels: Record<string, string>, namespace = 'shop', address = '10.0.0.9'): FlowEnd => ({
  ...{ kind: 'pod', name: `${namespace}/${name}`, address, namespace, pod: name, labels },
});
const web = end('web-7d9c6b8f5d-x2x9z', { app: 'web', 'pod-template-hash': '7d9c6b8f5d' });
const far: FlowEnd = { kind: 'outside', name: '192.0.2.7', address: '192.0.2.7' };
const dns = end('coredns-1', { 'k8s-app': 'kube-dns' }, 'kube-system');
const seen = (from: FlowEnd, to: FlowEnd, port: number | null, protocol = 'TCP'): SeenFlow => ({
  ...{ from, to, protocol, port, time: 100 },
});

test('pods by the labels that last, namespaces by name, the rest by address, DNS too; each rule with its evidence', () => {
  const { manifest, evidence, leftOut } = suggest(
    web,
    [
      seen(end('shop-1', { app: 'client' }), web, 80),
      seen(end('shop-2', { app: 'client' }), web, 80),
      seen(web, dns, 53, 'UDP'),
      seen(web, dns, 53),
      seen(web, far, 443),
      seen(end('nameless', {}, 'shop', '10.0.0.8'), web, 80),
      seen(web, far, null, 'ICMP'),
      seen({ kind: 'node', name: 'node', address: '10.0.0.1' }, web, 80),
      seen(web, web, 80),
    ],
    { name: 'web', isStaged: true },
  );
  assert.deepEqual(manifest, {
    ...{ apiVersion: 'networking.k8s.io/v1', kind: 'NetworkPolicy' },
    metadata: { namespace: 'shop', name: 'web', annotations: { 'tollgate.dev/staged': 'true' } },
    spec: {
      podSelector: { matchLabels: { app: 'web' } },
      policyTypes: ['Ingress', 'Egress'],
      ingress: [
        {
          from: [{ podSelector: { matchLabels: { app: 'client' } } }, { ipBlock: { cidr: '10.0.0.8/32' } }],
          ports: [{ protocol: 'TCP', port: 80 }],
        },
      ],
      egress: [
        { to: [{ ipBlock: { cidr: '192.0.2.7/32' } }], ports: [{ protocol: 'TCP', port: 443 }] },
        {
          to: [
            {
              namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'kube-system' } },
              podSelector: { matchLabels: { 'k8s-app': 'kube-dns' } },
            },
          ],
          ports: [
            { protocol: 'TCP', port: 53 },
            { protocol: 'UDP', port: 53 },
          ],
        },
      ],
    },
  });
  assert.deepEqual(
    evidence.map(({ direction, index, flows }) => [direction, index, flows]),
    [
      ['ingress', 0, 3],
      ['egress', 0, 1],
      ['egress', 1, 2],
    ],
  );
  assert.deepEqual(leftOut, [
    '1 flow ICMP, which has no ports to allow',
    '1 flow from its own node, which is always allowed',
    '1 flow to itself, which is always allowed',
  ]);
});

test('a pod without labels that last has no policy', () => {
  assert.throws(() => suggest(end('x', { 'pod-template-hash': '1' }), [], { name: 'x' }), /no labels/);
});

/** What the manifest means. */
function policyOf(manifest: object): NetworkPolicy {
  const { world, problems } = readManifests([{ file: 'suggested', document: 0, value: manifest }]);
  assert.deepEqual(
    problems.filter(({ severity }) => severity === 'error'),
    [],
  );
  return world.policies[0]!;
}

/** An end as a recorder shows it; pods that have their address for themselves, and addresses outside. */
interface Place {
  readonly end: FlowEnd;
  readonly endpoint: Endpoint;
}

function placesIn(world: World): readonly Place[] {
  const cluster = new Cluster(world);
  const pods = world.pods.flatMap((pod: Pod): Place[] => {
    const address = pod.addresses.find(text => cluster.ownerOf(text) === pod);
    if (address === undefined || pod.hostNetwork || pod.finished) return [];
    const { namespace, name, labels } = pod;
    const known = { kind: 'pod', name: `${namespace}/${name}`, address, namespace, pod: name } as const;
    return [{ end: { ...known, labels: Object.fromEntries(labels) }, endpoint: { kind: 'address', address } }];
  });
  const others = outside.map(
    (address): Place => ({
      end: { kind: 'outside', name: address, address },
      endpoint: { kind: 'address', address },
    }),
  );
  return [...pods, ...others];
}

const familyOf = ({ end: { address } }: Place): 4 | 6 => (address.includes(':') ? 6 : 4);

function flowsBetween(places: readonly Place[]): readonly { from: Place; to: Place; flow: Flow }[] {
  return places.flatMap(from =>
    places.flatMap(to =>
      from === to || familyOf(from) !== familyOf(to)
        ? []
        : traffic.map(what => ({
            from,
            to,
            flow: { ...what, from: from.endpoint, to: to.endpoint, family: familyOf(from) },
          })),
    ),
  );
}

const isSelected = ({ end: { namespace, labels } }: Place, subject: FlowEnd): boolean =>
  namespace === subject.namespace &&
  Object.entries(lastingLabels(subject.labels)).every(([key, value]) => labels?.[key] === value);

/** A flow, and whether it is allowed before there is a suggestion. */
interface Judged {
  readonly from: Place;
  readonly to: Place;
  readonly flow: Flow;
  readonly isAllowed: boolean;
}

const told = ({ from, to, flow }: Judged): string => `${from.end.name} → ${to.end.name} ${flow.protocol} ${flow.port}`;

const isLike = (a: Place, b: Place): boolean =>
  a === b || (b.end.kind === 'pod' && Object.keys(b.end.labels ?? {}).length > 0 && isSelected(a, b.end));

/** Whether one that was seen needs the other to be allowed: the same port of pods that have the same labels. */
const needs = (seenOne: Judged, other: Judged, subject: FlowEnd): boolean =>
  seenOne.flow.port === other.flow.port &&
  seenOne.flow.protocol === other.flow.protocol &&
  ((isSelected(seenOne.to, subject) && isSelected(other.to, subject) && isLike(other.from, seenOne.from)) ||
    (isSelected(seenOne.from, subject) && isSelected(other.from, subject) && isLike(other.to, seenOne.to)));

/** What was seen of the subject is allowed by what is suggested, nothing else is new, and other pods fare as before. */
function assertLeast(world: World, subject: FlowEnd, isSeen: (flow: Judged) => boolean): void {
  const before = new Cluster(world);
  const all = flowsBetween(placesIn(world)).map(
    (each): Judged => ({ ...each, isAllowed: evaluate(before, each.flow).allowed }),
  );
  const isMeant = ({ from, to }: Judged): boolean => [from, to].some(each => isSelected(each, subject));
  const found = all.filter(each => each.flow.protocol !== 'other' && isMeant(each) && isSeen(each));
  const flows = found.map(({ from, to, flow }) => seen(from.end, to.end, flow.port, flow.protocol));
  const { manifest } = suggest(subject, flows, { name: 'suggested' });
  const after = new Cluster({ ...world, policies: [...world.policies, policyOf(manifest)] });
  for (const each of found) assert.ok(evaluate(after, each.flow).allowed, told(each));
  for (const each of all) {
    const isNow = evaluate(after, each.flow).allowed;
    if (isNow === each.isAllowed) continue;
    assert.ok(isMeant(each), `${told(each)} fares otherwise, and is none of the subject's`);
    assert.ok(!isNow || found.some(one => needs(one, each, subject)), `${told(each)} is new`);
  }
}

const subjectIn = (world: World, at: number): FlowEnd | undefined => {
  const labelled = placesIn(world).filter(
    ({ end: each }) => each.kind === 'pod' && Object.keys(each.labels ?? {}).length > 0,
  );
  return labelled[at % Math.max(labelled.length, 1)]?.end;
};

suite('on random worlds', () => {
  test('what was seen is allowed, and nothing else is new but for pods with the labels of those that were seen', () => {
    let suggestions = 0;
    fc.assert(
      fc.property(manifests(), fc.nat(), fc.infiniteStream(fc.boolean()), (list, at, choices) => {
        const world = worldFrom(list);
        const subject = subjectIn(world, at);
        if (!subject) return;
        suggestions++;
        // The whole of a day, or a part of it.
        const isOne = choices[Symbol.iterator]();
        assertLeast(world, subject, ({ isAllowed }) => isAllowed && isOne.next().value);
      }),
      { numRuns: 300 },
    );
    assert.ok(suggestions > 100, `${suggestions} suggestions`);
  });

  test('where the subject is closed and all others are open, a few flows open no more than they need', () => {
    let suggestions = 0;
    fc.assert(
      fc.property(manifests(), fc.nat(), fc.infiniteStream(fc.nat(15)), (list, at, choices) => {
        const open = { ...worldFrom(list), policies: [] };
        const subject = subjectIn(open, at);
        if (!subject) return;
        suggestions++;
        // So each permission is one that the suggestion gives.
        const shut = policyOf(suggest(subject, [], { name: 'shut' }).manifest);
        const number = choices[Symbol.iterator]();
        assertLeast({ ...open, policies: [shut] }, subject, () => number.next().value === 0);
      }),
      { numRuns: 300 },
    );
    assert.ok(suggestions > 100, `${suggestions} suggestions`);
  });

  test('what would allow a denied flow does, where the end has labels', () => {
    let remedies = 0;
    fc.assert(
      fc.property(manifests(), list => {
        const world = worldFrom(list);
        const before = new Cluster(world);
        for (const { from, to, flow } of flowsBetween(placesIn(world))) {
          const { allowed, egress, ingress } = evaluate(before, flow);
          const closed = [...(egress.allowed ? [] : [from]), ...(ingress.allowed ? [] : [to])];
          if (allowed || flow.protocol === 'other') continue;
          if (closed.some(({ end: each }) => Object.keys(each.labels ?? {}).length === 0)) continue;
          const record = {
            ...seen(from.end, to.end, flow.port, flow.protocol),
            egress,
            ingress,
          } as unknown as FlowRecord;
          const policies = remediesFor(record).map(policyOf);
          remedies++;
          const after = new Cluster({ ...world, policies: [...world.policies, ...policies] });
          assert.ok(evaluate(after, flow).allowed, `${from.end.name} → ${to.end.name}`);
        }
      }),
      { numRuns: 100 },
    );
    assert.ok(remedies > 100, `${remedies} remedies`);
  });
});
