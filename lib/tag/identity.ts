/** A container port by its name, which policies may use instead of its number. */
export interface NamedPort {
  readonly name: string;
  readonly port: number;
  readonly protocol: string;
}

/** What policy can tell of a pod; pods that agree in all of it share a tag. */
export interface Identity {
  readonly namespace: string;
  readonly labels: ReadonlyMap<string, string>;
  readonly namedPorts: readonly NamedPort[];
}

const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

/**
 * One text for one identity, whatever order labels and ports came in and whatever characters are in them:
 * JSON quotes each part, so no two identities have the same text. Compare keys, never their hashes.
 */
export function identityKey({ namespace, labels, namedPorts }: Identity): string {
  const sortedLabels = [...labels].sort(([a], [b]) => compare(a, b));
  const ports = namedPorts.map(({ name, port, protocol }) => JSON.stringify([name, port, protocol]));
  const sortedPorts = [...new Set(ports)].sort(compare).map((text): unknown => JSON.parse(text));
  return JSON.stringify([namespace, sortedLabels, sortedPorts]);
}

const isText = (value: unknown): value is string => typeof value === 'string';
const isLabel = (value: unknown): value is [string, string] => Array.isArray(value) && value.every(isText);

const isPort = (value: unknown): value is [string, number, string] =>
  Array.isArray(value) && isText(value[0]) && Number.isInteger(value[1]) && isText(value[2]);

type Parts = [
  namespace: string,
  labels: readonly [key: string, value: string][],
  ports: readonly [name: string, port: number, protocol: string][],
];

const isWhole = (parts: unknown): parts is Parts =>
  Array.isArray(parts) &&
  isText(parts[0]) &&
  Array.isArray(parts[1]) &&
  parts[1].every(isLabel) &&
  Array.isArray(parts[2]) &&
  parts[2].every(isPort);

/** Undefined where the text is no `identityKey`. */
function partsOf(key: string): Parts | undefined {
  let parts: unknown;
  try {
    parts = JSON.parse(key);
  } catch {
    return undefined;
  }
  return isWhole(parts) ? parts : undefined;
}

export const isIdentityKey = (text: string): boolean => partsOf(text) !== undefined;

/** The identity of an `identityKey`. @throws SyntaxError where the text is none */
export function identityIn(key: string): Identity {
  const parts = partsOf(key);
  if (!parts) throw new SyntaxError(`Cannot read an identity: ${key}`);
  const [namespace, labels, ports] = parts;
  const namedPorts = ports.map(([name, port, protocol]) => ({ name, port, protocol }));
  return { namespace, labels: new Map(labels), namedPorts };
}

/** `shop app=web,tier=front http=8080/TCP`: for people, and for comments in the table. */
export function describeIdentity({ namespace, labels, namedPorts }: Identity): string {
  const sorted = [...labels].sort(([a], [b]) => compare(a, b)).map(([key, value]) => `${key}=${value}`);
  const ports = namedPorts.map(({ name, port, protocol }) => `${name}=${port}/${protocol}`);
  return [namespace, sorted.join(','), ports.join(',')].filter(part => part !== '').join(' ');
}
