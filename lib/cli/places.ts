/** Addresses at which an agent shows itself. */
import type { TcpPlace } from '../controller/http-server.ts';
import { parseAddress } from '../ip/address.ts';
import { isUnspecified } from '../ip/binding.ts';
import { UsageError } from './command.ts';

/** Where the agent of a Kubernetes node shows metrics unless it is told otherwise, and kubelet asks for its health. */
export const METRICS = '127.0.0.1:9467';

async function placeIn(text: string): Promise<TcpPlace | undefined> {
  const { parsePlace } = await import('../controller/http-server.ts');
  return parsePlace(text);
}

/** @throws UsageError where it is neither an address with a port nor `off` */
export async function metricsPlace(text: string): Promise<TcpPlace | undefined> {
  if (text === 'off') return undefined;
  const place = await placeIn(text);
  if (!place) throw new UsageError(`Cannot show metrics on ${text}: expected ADDRESS:PORT, or off`);
  return place;
}

const isAny = ({ host }: TcpPlace): boolean => isUnspecified(parseAddress(host)!);

/**
 * @param metrics as `metricsPlace` takes it
 * @throws UsageError where it is no address with a port, or metrics are there: the page would answer probes
 */
export async function flowsPlace(text: string, metrics: string): Promise<TcpPlace> {
  const place = await placeIn(text);
  if (!place) throw new UsageError(`Cannot show flows on ${text}: expected ADDRESS:PORT, as in 127.0.0.1:9468`);
  const other = await metricsPlace(metrics);
  if (other?.port === place.port && (other.host === place.host || isAny(other) || isAny(place)))
    throw new UsageError(`Cannot show flows on ${text}: metrics and health are on ${metrics}; give it another port`);
  return place;
}
