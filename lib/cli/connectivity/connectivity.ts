/** `tollgate connectivity test`: does this node do what it should, tried with pods of our own? */
import { type Address, formatAddress } from '../../ip/address.ts';
import { dumpAddresses, linkAddressOf } from '../../kernel/address.ts';
import { must } from '../../kernel/message.ts';
import { NetlinkSocket } from '../../kernel/netlink.ts';
import { isOwnLink } from '../../pod/inventory.ts';
import { allLinks } from '../../pod/links.ts';
import { command, commandGroup, normalPath, printPainted, UsageError, wholeNumber } from '../command.ts';
import { Network } from './network.ts';
import { NodeTest, type NodeTestOptions } from './node-test.ts';
import { conclude, formatOption, outcomeLine, type ReportFormat, type Tested } from './report.ts';
import { undoneOnSignal } from './undone-on-signal.ts';

/** The node's first address of each family that others may call: neither a pod's, nor loopback, nor link-local. */
function nodeAddresses(): readonly string[] {
  using socket = NetlinkSocket.open('route');
  const links = new Map(allLinks(socket.exchange).map(link => [link.ifindex, link]));
  const isOfNode = ({ ifindex, scope }: { readonly ifindex: number; readonly scope: number }): boolean => {
    const link = links.get(ifindex);
    return scope === 0 && link !== undefined && !isOwnLink(link);
  };
  const found = must(socket.exchange([dumpAddresses()]))
    .flat()
    .flatMap(reply => linkAddressOf(reply) ?? [])
    .filter(isOfNode);
  const first = (family: Address['family']) => found.find(address => address.family === family);
  return [first(4), first(6)].flatMap(address => (address ? [formatAddress(address)] : []));
}

/** @throws UsageError */
function outsideIn(text: string): { readonly address: string; readonly port: number } {
  const [, six, four, port] = /^(?:\[([0-9a-fA-F:.]+)\]|([0-9.]+)):([0-9]{1,5})$/.exec(text) ?? [];
  const address = six ?? four;
  if (address === undefined || Number(port) < 1 || Number(port) > 65535)
    throw new UsageError(`Cannot ask ${JSON.stringify(text)}: give ADDRESS:PORT, an IPv6 address in brackets`);
  return { address, port: Number(port) };
}

const textOf = (value: unknown, fallback: string): string => (typeof value === 'string' ? value : fallback);

/** Folders that the conflist names, as options of `tollgate verify`. */
function verifyArguments({ own }: Network): readonly string[] {
  const folders = { 'run-dir': own['runDir'], 'state-dir': own['stateDir'], policies: own['policies'] };
  return Object.entries(folders).flatMap(([name, value]) => (typeof value === 'string' ? [`--${name}`, value] : []));
}

async function tested(network: Network, options: NodeTestOptions, output: ReportFormat): Promise<Tested> {
  await using test = new NodeTest(network, options);
  using _signals = undoneOnSignal(test);
  await test.prepare();
  return await test.run(outcome => {
    if (output === 'text') printPainted(outcomeLine(outcome));
  });
}

const test = command(
  'test',
  'Plug in pods of our own, let them talk, and say what is likely wrong where they cannot',
  parser =>
    parser
      .options({
        'conf-dir': {
          type: 'string',
          default: '/etc/cni/net.d',
          requiresArg: true,
          coerce: normalPath,
          describe: 'Where runtimes find their network',
        },
        'bin-dir': {
          type: 'string',
          default: '/opt/cni/bin',
          requiresArg: true,
          coerce: normalPath,
          describe: 'Where plugins are',
        },
        outside: {
          type: 'string',
          requiresArg: true,
          describe: 'ADDRESS:PORT of a web server beyond this node; else the way there is not tried',
        },
        'host-port': {
          type: 'number',
          coerce: wholeNumber('host-port', 1, 65_535),
          default: 29467,
          requiresArg: true,
          describe: 'A free port of this node',
        },
        pause: {
          type: 'boolean',
          default: false,
          describe: 'Wait for Enter once the pods are plugged in, for a look at them',
        },
        ...formatOption,
      })
      .example('sudo $0 connectivity test', 'by the conflist that runtimes take')
      .example('sudo $0 connectivity test --outside 192.0.2.10:80', 'the way out, too')
      .epilog(
        'Four pods (namespace tollgate-connectivity) are plugged in by this node’s own conflist and policies folder, and taken away again, however it ends. In both families: pod to pod, node to pod, hostPort, packets that fill the MTU, what a policy allows and denies, what ClusterNetworkPolicies of both tiers make of it, and whether the warm process answers, where there is one. What cannot be tried here is named. Exit code 0: all as it should be; 1: something is not, with the likely cause; 3: no pod could be plugged in.',
      ),
  async ({ confDir, binDir, outside, hostPort, pause, output }) => {
    const network = Network.find(confDir, binDir);
    const { own } = network;
    if (own['enforcer'] === 'agent')
      throw new Error(
        'Cannot test a node of a cluster with pods that its API does not know: its agent closes them; `kubectl tollgate connectivity test` makes pods that it knows',
      );
    const options: NodeTestOptions = {
      policies: textOf(own['policies'], '/etc/tollgate/policies'),
      runDir: textOf(own['runDir'], '/run/tollgate'),
      ...(outside === undefined ? {} : { outside: outsideIn(outside) }),
      nodeAddresses: nodeAddresses(),
      hostPort,
      isPaused: pause,
      verifyArguments: verifyArguments(network),
    };
    return conclude(await tested(network, options, output as ReportFormat), output as ReportFormat);
  },
);

export const connectivity = commandGroup('connectivity', 'Try the network with pods of our own', [test]);
