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

/** Undefined where the text is no `identityKey`. */
function found(key: string): Identity | undefined {
  let parts: unknown;
  try {
    parts = JSON.parse(key);
  } catch {
    return undefined;
  }
  const [namespace, labels, ports] = Array.isArray(parts) ? (parts as unknown[]) : [];
  if (!isText(namespace) || !Array.isArray(labels) || !labels.every(isLabel)) return undefined;
  if (!Array.isArray(ports) || !ports.every(isPort)) return undefined;
  const namedPorts = ports.map(([name, port, protocol]) => ({ name, port, protocol }));
  return { namespace, labels: new Map(labels), namedPorts };
}

export const isIdentityKey = (text: string): boolean => found(text) !== undefined;

/** The identity of an `identityKey`. @throws SyntaxError where the text is none */
export function identityIn(key: string): Identity {
  const identity = found(key);
  if (!identity) throw new SyntaxError(`Cannot read an identity: ${key}`);
  return identity;
}

/** `shop app=web,tier=front http=8080/TCP`: for people, and for comments in the table. */
export function describeIdentity({ namespace, labels, namedPorts }: Identity): string {
  const sorted = [...labels].sort(([a], [b]) => compare(a, b)).map(([key, value]) => `${key}=${value}`);
  const ports = namedPorts.map(({ name, port, protocol }) => `${name}=${port}/${protocol}`);
  return [namespace, sorted.join(','), ports.join(',')].filter(part => part !== '').join(' ');
}
