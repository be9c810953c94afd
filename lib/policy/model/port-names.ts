/** The ports of a pod by their names. A pod may declare thousands of them, and is asked for each name that policies use. */
import type { NamedPort } from '../../tag/identity.ts';

const byName = new WeakMap<readonly NamedPort[], ReadonlyMap<string, ReadonlySet<number>>>();

function indexed(ports: readonly NamedPort[]): ReadonlyMap<string, ReadonlySet<number>> {
  const index = new Map<string, Set<number>>();
  for (const { protocol, name, port } of ports) {
    const key = `${protocol}/${name}`;
    const numbers = index.get(key);
    if (numbers) numbers.add(port);
    else index.set(key, new Set([port]));
  }
  return index;
}

const none: ReadonlySet<number> = new Set();

/** The numbers that the name has, each once: none where no container has it. */
export function numbersNamed(ports: readonly NamedPort[], protocol: string, name: string): ReadonlySet<number> {
  if (ports.length === 0) return none;
  const index = byName.get(ports) ?? indexed(ports);
  byName.set(ports, index);
  return index.get(`${protocol}/${name}`) ?? none;
}
