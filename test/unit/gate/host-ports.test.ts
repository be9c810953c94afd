/** Which hostPorts exclude each other, and what the table holds of them. */
import assert from 'node:assert/strict';
import test, { suite } from 'node:test';
import { CniError } from '../../../lib/cni/error.ts';
import { desiredTable } from '../../../lib/gate/desired.ts';
import { refuseTakenPorts } from '../../../lib/gate/host-ports.ts';
import { emptyNode, type HostPort, type LocalPod, type NodeState, podKey } from '../../../lib/gate/node-state.ts';
import { untaggedPod } from '../../support/local-pod.ts';

const both = ['10.0.0.1', 'fd00::1'];

const pod = (name: string, mapping: Partial<HostPort>, addresses: readonly string[]): LocalPod => ({
  ...untaggedPod(name, { namespace: 'test', addresses }),
  hostPorts: [{ hostPort: 80, containerPort: 8080, protocol: 'tcp', ...mapping }],
  tag: 0x74670001,
});

const owner = { enforcer: 'inline', stateDir: '/s', policies: '/p' };
const empty = emptyNode(owner, { judge: 'inline', nflogGroup: 1, enforceEgressToNode: false });
const stateOf = (...pods: readonly LocalPod[]): NodeState => ({
  ...empty,
  pods: Object.fromEntries(pods.map(each => [podKey(each), each])),
});

/** How many elements the maps of hostPorts hold for these pods, after none of them was refused. */
const elementsOf = (...pods: readonly LocalPod[]): string[] =>
  desiredTable(stateOf(...pods), 1)
    .sets.filter(({ name }) => name.startsWith('hostports'))
    .flatMap(({ name, elements }) => elements.map(() => name));

const any = {};
const on = (hostIP: string) => ({ hostIP });
const four = ['10.0.0.2'];
const six = ['fd00::2'];

type Row = readonly [
  what: string,
  has: Partial<HostPort>,
  wants: Partial<HostPort>,
  refused: boolean,
  addresses?: readonly [has: readonly string[], wants: readonly string[]],
];

const rows: readonly Row[] = [
  ['every address, and every address', any, any, true],
  ['every address, and 0.0.0.0', any, on('0.0.0.0'), true],
  ['every address, and ::', any, on('::'), true],
  ['every address, and one', any, on('192.0.2.1'), true],
  ['one address, and every address', on('2001:db8::1'), any, true],
  ['0.0.0.0, and one IPv4 address', on('0.0.0.0'), on('192.0.2.1'), true],
  ['::, and one IPv6 address', on('::'), on('2001:db8::1'), true],
  ['one address, twice', on('192.0.2.1'), on('192.0.2.1'), true],
  ['0.0.0.0, and ::', on('0.0.0.0'), on('::'), false],
  ['::, and one IPv4 address', on('::'), on('192.0.2.1'), false],
  ['two addresses', on('192.0.2.1'), on('192.0.2.2'), false],
  ['two addresses of two families', on('192.0.2.1'), on('2001:db8::1'), false],
  ['another port', any, { hostPort: 81 }, false],
  ['another protocol', any, { protocol: 'udp' }, false],
  ['every address, of an IPv4 and of an IPv6 pod', any, any, false, [four, six]],
  ['every address of a dual-stack pod, and :: of an IPv6 pod', any, on('::'), true, [both, six]],
];

suite('two pods that ask for one port of the node', () => {
  for (const [what, has, wants, refused, [first, second] = [both, ['10.0.0.2', 'fd00::2']] as const] of rows)
    test(`${what}: ${refused ? 'the second is refused, and told who has it' : 'both have theirs'}`, () => {
      const [a, b] = [pod('a', has, first), pod('b', wants, second)];
      if (!refused) {
        refuseTakenPorts(stateOf(a), b);
        assert.equal(elementsOf(a, b).length, elementsOf(a).length + elementsOf(b).length);
        return;
      }
      assert.throws(
        () => refuseTakenPorts(stateOf(a), b),
        (error: unknown) =>
          error instanceof CniError && error.code === 7 && /80\/tcp: taken by pod test\/a/.test(error.message),
      );
    });

  test('a pod does not stand in its own way', () =>
    refuseTakenPorts(stateOf(pod('a', any, both)), pod('a', any, both)));
});

suite('the maps of hostPorts', () => {
  test('have one element for a key, also where a pod asks for it in two ways, or two pods of an earlier release did', () => {
    const ways = {
      ...pod('a', any, both),
      hostPorts: [any, on('0.0.0.0'), on('::')].flatMap(way => pod('a', way, both).hostPorts),
    };
    assert.deepEqual(elementsOf(ways), ['hostports4_any', 'hostports6_any']);
    assert.deepEqual(elementsOf(pod('a', any, both), pod('b', on('0.0.0.0'), ['10.0.0.2'])), [
      'hostports4_any',
      'hostports6_any',
    ]);
  });
});
