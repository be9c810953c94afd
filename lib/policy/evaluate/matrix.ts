/** Verdicts for pairs of ends, as the rows that `tollgate policy matrix` and `explain` print, and scripts rely on. */
import { type Family, formatAddress, parseAddress } from '../../ip/address.ts';
import type { DirectionVerdict, Endpoint, Flow, Pod, World } from '../model/model.ts';
import { promoted } from '../model/staged.ts';
import { Cluster } from './cluster.ts';
import type { Decision } from './decision.ts';
import { type EvaluateOptions, evaluate } from './evaluate.ts';
import { type JudgedPair, reasonOf, type Traffic } from './matrix-judge.ts';
import { type PairWithStaged, StagedMatrix } from './matrix-staged.ts';

export type { Traffic } from './matrix-judge.ts';

/** `Kind/namespace/name` of policies, and one sentence. */
export type RowDirection = Pick<DirectionVerdict, 'allowed' | 'by' | 'why'>;

/** The verdict of policies on a connection, in both directions. */
export interface RowVerdict {
  readonly allowed: boolean;
  readonly egress: RowDirection;
  readonly ingress: RowDirection;
}

export interface MatrixRow extends RowVerdict {
  /** `namespace/pod`, an address, or `node`. */
  readonly from: string;
  readonly to: string;
  /** null where an end has no address yet and was judged by its labels. */
  readonly family: Family | null;
  readonly protocol: Flow['protocol'];
  readonly port: number;
  /** The verdict if all staged policies were in force; absent where there are none. */
  readonly staged?: RowVerdict;
}

const directionOf = ({ allowed, by, why }: DirectionVerdict): RowDirection => ({ allowed, by, why });

export const nameOf = ({ namespace, name }: Pod): string => `${namespace}/${name}`;

export function endpointText(endpoint: Endpoint): string {
  if (endpoint.kind === 'pod') return nameOf(endpoint.pod);
  if (endpoint.kind === 'address') return endpoint.address;
  return endpoint.name === undefined ? 'node' : `node ${endpoint.name}`;
}

/** The endpoint that a person means by `namespace/pod`, an address or `node`; undefined where there is no such pod or address. */
export function parseEndpoint(world: World, text: string): Endpoint | undefined {
  if (text === 'node') return { kind: 'node' };
  const pod = world.pods.find(({ namespace, name }) => `${namespace}/${name}` === text);
  if (pod) return { kind: 'pod', pod };
  const address = parseAddress(text);
  return address && { kind: 'address', address: formatAddress(address) };
}

const familiesOf = (texts: readonly string[]): readonly Family[] =>
  ([4, 6] as const).filter(family => texts.some(text => parseAddress(text)?.family === family));

/** undefined: whichever the other end has. */
export function familiesAt(endpoint: Endpoint): readonly Family[] | undefined {
  if (endpoint.kind === 'address') return familiesOf([endpoint.address]);
  return endpoint.kind === 'pod' ? familiesOf(endpoint.pod.addresses) : undefined;
}

const hasNoAddress = (endpoint: Endpoint): boolean => endpoint.kind === 'pod' && endpoint.pod.addresses.length === 0;

/** The address families that both ends have; null alone where a pod has no address yet and nothing else decides. */
export function sharedFamilies(from: Endpoint, to: Endpoint): readonly (Family | null)[] {
  const fixed = [from, to].find(({ kind }) => kind === 'address');
  if (hasNoAddress(from) || hasNoAddress(to)) return (fixed && familiesAt(fixed)) ?? [null];
  const [a, b] = [familiesAt(from), familiesAt(to)];
  if (!a || !b) return a ?? b ?? [null];
  return a.filter(family => b.includes(family));
}

/** One row for each address family in which this connection can be made. */
export function explain(
  world: World | Cluster,
  {
    from,
    to,
    protocol,
    port,
    throughService = false,
  }: Pick<Flow, 'from' | 'to' | 'protocol' | 'port' | 'throughService'>,
  options: EvaluateOptions = {},
): readonly MatrixRow[] {
  const after = world instanceof Cluster ? undefined : promoted(world);
  return sharedFamilies(from, to).map(family => {
    const judged = (asked: World | Cluster): RowVerdict => {
      const { allowed, egress, ingress } = evaluate(
        asked,
        { from, to, family, protocol, port, throughService },
        options,
      );
      return { allowed, egress: directionOf(egress), ingress: directionOf(ingress) };
    };
    return {
      ...{ from: endpointText(from), to: endpointText(to), family, protocol, port, ...judged(world) },
      ...(after ? { staged: judged(after) } : {}),
    };
  });
}

/** The verdict on the pair, with its reasons as text. */
function verdictOf(pair: JudgedPair): RowVerdict {
  const told = (decision: Decision): RowDirection => ({
    allowed: decision.allowed,
    by: decision.by,
    why: reasonOf(decision, pair),
  });
  return { allowed: pair.allowed, egress: told(pair.egress), ingress: told(pair.ingress) };
}

/** The pair as a row. */
export const rowOf = ({ pair, staged }: PairWithStaged, traffic: Traffic): MatrixRow => ({
  ...{ from: pair.from.name, to: pair.to.name, family: pair.family, ...traffic, ...verdictOf(pair) },
  ...(staged ? { staged: verdictOf(staged) } : {}),
});

/** A row for each ordered pair of different pods that have not finished, and each address family that both have. */
export function* matrix(world: World, traffic: Traffic, options: EvaluateOptions = {}): Generator<MatrixRow> {
  for (const pair of new StagedMatrix(world, traffic, options)) yield rowOf(pair, traffic);
}
