import { explain, parseEndpoint } from '../../policy/evaluate/matrix.ts';
import { walk } from '../../policy/explain/explain.ts';
import type { Endpoint, World } from '../../policy/model/model.ts';
import { command, exit, outputOption, print, printJson, UsageError } from '../command.ts';
import { liveOptions } from '../live-node.ts';
import { walkthroughsText } from './explain-text.ts';
import { judgedWorld, warnOfErrors } from './judged.ts';
import { fileOption } from './manifests.ts';
import { parsePort, portOption } from './matrix.ts';

/** @throws UsageError which names up to three pods that the reader may mean */
function endpointOf(world: World, option: '--from' | '--to', text: string): Endpoint {
  const endpoint = parseEndpoint(world, text);
  if (endpoint) return endpoint;
  const pods = world.pods.map(({ namespace, name }) => `${namespace}/${name}`);
  const near = pods.filter(pod => pod.endsWith(`/${text}`) || pod.includes(text)).slice(0, 3);
  const known = near.length > 0 ? near : pods.slice(0, 3);
  const hint =
    known.length === 0 ? 'there are no pods' : `pods are ${known.join(', ')}${pods.length > known.length ? ', …' : ''}`;
  throw new UsageError(`Cannot find ${option} ${text}: expected NAMESPACE/POD, an address or the word node (${hint})`);
}

const end = (describe: string) => ({ type: 'string', demandOption: true, requiresArg: true, describe }) as const;

export const policyExplain = command(
  'explain',
  'Say why a connection is allowed or refused, and what would change that',
  parser =>
    parser
      .options({
        ...fileOption,
        from: end('Who opens the connection: NAMESPACE/POD, an address, or node'),
        to: end('To whom, in the same words'),
        ...portOption,
        service: {
          type: 'boolean',
          default: false,
          describe: 'It is made to the address of a Service: so a pod may come back to itself, and be judged',
        },
        ...outputOption,
        ...liveOptions,
      })
      .example('$0 policy explain -f policies/ --from shop/web --to shop/db --port 5432/TCP', 'by manifests alone')
      .example('$0 policy explain --from 192.0.2.7 --to shop/web --port 80/TCP', 'on this node, as it is now')
      .example('$0 policy explain -f policies/ --from shop/db --to node --port 10250 -o json', 'for scripts')
      .example('$0 policy explain --from shop/web --to shop/db --port icmp', 'why a ping has no answer')
      .example(
        '$0 policy explain --from shop/web --to shop/web --port 80/TCP --service',
        'through a Service, to itself',
      )
      .epilog(
        'Policies are walked in their order: tier Admin up to the rule that decides, NetworkPolicies, tier Baseline. The destination is meant as it is after a Service has been resolved: a pod, not the Service. Exit code 0: allowed, 1: denied (in one address family at least), 2: wrong usage, 3: failed.',
      ),
  async options => {
    const traffic = parsePort(options.port);
    const judged = await judgedWorld(options);
    const { world } = judged;
    warnOfErrors(judged);
    const ends = { from: endpointOf(world, '--from', options.from), to: endpointOf(world, '--to', options.to) };
    const how = { ...ends, ...traffic, ...(options.service ? { throughService: true } : {}) };
    const rows = explain(world, how, judged.options);
    if (rows.length === 0)
      throw new UsageError(`Cannot connect ${options.from} to ${options.to}: they have no address family in common`);
    if (options.output === 'json') printJson(rows);
    else print(walkthroughsText(rows.map(({ family }) => walk(world, { ...how, family }, judged.options))));
    return rows.every(({ allowed }) => allowed) ? exit.yes : exit.no;
  },
);
