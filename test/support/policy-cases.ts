/**
 * One small cluster, in which each statement about policy is a row: who sends what to whom, and whether it gets there.
 * Every row is asked twice, of `evaluate` and of the compiled ruleset.
 */
import assert from 'node:assert/strict';
import test from 'node:test';
import { parseAddress } from '../../lib/ip/address.ts';
import { compile } from '../../lib/policy/compile/compile.ts';
import { type EvaluateOptions, evaluate } from '../../lib/policy/evaluate/evaluate.ts';
import { parseEndpoint } from '../../lib/policy/evaluate/matrix.ts';
import { readManifests } from '../../lib/policy/manifest/manifest.ts';
import { readYaml } from '../../lib/policy/manifest/yaml.ts';
import type { Direction, Endpoint, Flow, Pod, World } from '../../lib/policy/model/model.ts';
import type { Problem } from '../../lib/policy/model/problem.ts';
import { passes } from './ruleset-tracer.ts';
import { tagged } from './worlds.ts';

interface Extra {
  /** Named ports of its one container, as YAML. */
  readonly ports?: string;
  readonly node?: string;
  readonly hostNetwork?: boolean;
  readonly phase?: string;
}

function pod(name: string, labels: string, addresses: readonly string[], extra: Extra = {}): string {
  const { ports = '{ name: http, containerPort: 80 }', node = 'n1', hostNetwork = false, phase = 'Running' } = extra;
  const [namespace, own] = name.split('/');
  return `
apiVersion: v1
kind: Pod
metadata: { namespace: ${namespace}, name: ${own}, labels: { ${labels} } }
spec: { nodeName: ${node}, hostNetwork: ${hostNetwork}, containers: [{ name: main, ports: [${ports}] }] }
status: { phase: ${phase}, podIPs: [${addresses.map(ip => `{ ip: "${ip}" }`).join(', ')}] }`;
}

/** The subject is a/p; the others differ in what policies can tell apart. */
const cast = [
  'apiVersion: v1\nkind: Namespace\nmetadata: { name: a, labels: { team: red } }',
  'apiVersion: v1\nkind: Namespace\nmetadata: { name: b, labels: { team: blue } }',
  pod('a/p', 'app: p', ['10.0.0.1', 'fd00::1']),
  pod('a/q', 'app: q', ['10.0.0.2', 'fd00::2']),
  pod('a/blank', 'app: blank, env: ""', ['10.0.0.3', 'fd00::3']),
  pod('a/prod', 'app: prod, env: prod', ['10.0.0.4', 'fd00::4']),
  pod('a/done', 'app: done', ['10.0.0.7'], { phase: 'Succeeded' }),
  pod('a/r', 'app: r', ['10.0.0.7']),
  pod('a/host', 'app: q', ['10.9.0.2', 'fd09::2'], { node: 'n2', hostNetwork: true }),
  pod('b/one', 'app: q', ['10.1.2.5', 'fd00::1:5'], { node: 'n2' }),
  pod('b/two', 'app: two', ['10.1.3.5'], {
    ports: '{ name: http, containerPort: 8080 }, { name: dns, containerPort: 53, protocol: UDP }',
  }),
  // No manifest declares namespace c.
  pod('c/z', 'app: q', ['10.2.0.1']),
  'apiVersion: v1\nkind: Node\nmetadata: { name: n1 }\nstatus: { addresses: [{ type: InternalIP, address: 10.9.0.1 }] }',
  'apiVersion: v1\nkind: Node\nmetadata: { name: n2 }\nstatus: { addresses: [{ type: InternalIP, address: 10.9.0.2 }] }',
].join('\n---\n');

export interface Case {
  readonly world: World;
  readonly problems: readonly Problem[];
}

/** The world of these manifests, text as it would be in a file; every pod of n1 is local. */
export function worldOfYaml(text: string): Case {
  const { documents, problems } = readYaml(text, 'case.yaml');
  const read = readManifests(documents);
  const pods = read.world.pods.map(each => ({ ...each, local: each.nodeName === 'n1' }));
  return { world: { ...read.world, pods }, problems: [...problems, ...read.problems] };
}

/** The cast and NetworkPolicies of namespace a with these specs, named p0, p1, …, each selecting a/p unless it says otherwise. */
export function caseOf(...specs: readonly string[]): Case {
  const indented = specs.map(spec => spec.replace(/^\n/, '').replaceAll(/^/gm, '  '));
  const policies = indented.map(
    (spec, i) => `apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { namespace: a, name: p${i} }
spec:
${/^ {2}podSelector:/m.test(spec) ? '' : '  podSelector: { matchLabels: { app: p } }\n'}${spec}`,
  );
  return worldOfYaml([cast, ...policies].join('\n---\n'));
}

const endpointOf = (world: World, text: string): Endpoint =>
  text.startsWith('node ') ? { kind: 'node', name: text.slice(5) } : parseEndpoint(world, text)!;

function addressOf(endpoint: Endpoint, family: 4 | 6): string | undefined {
  if (endpoint.kind === 'address') return endpoint.address;
  if (endpoint.kind === 'node') return undefined;
  return endpoint.pod.addresses.find(text => parseAddress(text)!.family === family);
}

/** The verdict of the compiled ruleset on one end; undefined where the table's own rules decide, or none. */
function gateOf(
  world: World,
  subject: Endpoint,
  peer: Endpoint,
  direction: Direction,
  flow: Flow,
): boolean | undefined {
  if (subject.kind !== 'pod' || !isGated(subject.pod) || flow.family === null) return undefined;
  const address = addressOf(peer, flow.family);
  if (address === undefined || world.nodes!.some(({ name, addresses }) => name === 'n1' && addresses.includes(address)))
    return undefined;
  if (subject.pod.addresses.includes(address)) return undefined;
  const { identities, tagOf } = tagged(world.pods.filter(isGated));
  const packet = { peer: parseAddress(address)!, protocol: flow.protocol, port: flow.port };
  return passes(compile(world, identities), tagOf(subject.pod)!, direction, packet);
}

const isGated = ({ local, hostNetwork, finished }: Pod): boolean => local === true && !hostNetwork && !finished;

/** `a/q > a/p TCP 80`, `10.9.9.9 > a/p TCP 80 v6`; IPv4 unless it says v6. */
function parseFlow(world: World, text: string): Flow {
  const [from, rest] = text.split(' > ') as [string, string];
  const [, to, protocol, port, version] = /^(.+) (TCP|UDP|SCTP|other) (\d+)( v6)?$/.exec(rest)!;
  const ends = { from: endpointOf(world, from), to: endpointOf(world, to!) };
  for (const [end, found] of Object.entries(ends)) assert.ok(found, `${text}: nobody is its ${end}`);
  return { ...ends, family: version ? 6 : 4, protocol: protocol as Flow['protocol'], port: Number(port) };
}

/** Whether the flow gets through, by `evaluate`, once the ruleset was seen to agree. */
export function passesIn({ world }: Case, text: string, options: EvaluateOptions = {}): boolean {
  const flow = parseFlow(world, text);
  const verdict = evaluate(world, flow, options);
  const out = gateOf(world, flow.from, flow.to, 'egress', flow);
  const into = gateOf(world, flow.to, flow.from, 'ingress', flow);
  assert.equal(out ?? verdict.egress.allowed, verdict.egress.allowed, `the ruleset disagrees: ${verdict.egress.why}`);
  assert.equal(
    into ?? verdict.ingress.allowed,
    verdict.ingress.allowed,
    `the ruleset disagrees: ${verdict.ingress.why}`,
  );
  return verdict.allowed;
}

export interface Statement {
  /** A sentence. */
  readonly says: string;
  /** Specs of policies; a text alone is one. */
  readonly policies: string | readonly string[];
  /** Flows that get through. */
  readonly allow?: readonly string[];
  readonly deny?: readonly string[];
  /** Fields that are reported; none unless said. */
  readonly reports?: readonly string[];
  readonly options?: EvaluateOptions;
}

/** One test for each statement. */
export function holds(section: string, statements: readonly Statement[]): void {
  for (const { says, policies, allow = [], deny = [], reports = [], options = {} } of statements)
    test(`${section}: ${says}`, () => {
      const it = caseOf(...(typeof policies === 'string' ? [policies] : policies));
      assert.deepEqual(it.problems.map(({ field }) => field).sort(), [...reports].sort());
      assert.ok(allow.length + deny.length > 0, 'a statement without a flow says nothing');
      for (const flow of allow) assert.equal(passesIn(it, flow, options), true, `${flow} should pass`);
      for (const flow of deny) assert.equal(passesIn(it, flow, options), false, `${flow} should not pass`);
    });
}
