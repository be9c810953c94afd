import { chmodSync, renameSync, rmSync, statSync } from 'node:fs';
import type { ListenOptions, Server } from 'node:net';

export const started = (server: Server, where: ListenOptions | { readonly fd: number }): Promise<void> =>
  new Promise((resolve, reject) => {
    server.once('error', reject).listen({ ...where, backlog: 512 }, () => {
      server.off('error', reject);
      resolve();
    });
  });

/**
 * Listens on a Unix socket for root alone, put in place by rename, with its mode: a caller finds no socket, a stale one, or one
 * with a listener. Disposing of the result takes the socket away, if it is still ours.
 */
export async function placeSocket(server: Server, path: string): Promise<Disposable> {
  const aside = `${path}.${process.pid}`;
  rmSync(aside, { force: true });
  const umask = process.umask(0o177);
  let listening: Promise<void>;
  try {
    listening = started(server, { path: aside });
  } finally {
    process.umask(umask);
  }
  await listening;
  chmodSync(aside, 0o600);
  renameSync(aside, path);
  const { ino } = statSync(path);
  return {
    [Symbol.dispose]() {
      if (statSync(path, { throwIfNoEntry: false })?.ino === ino) rmSync(path, { force: true });
    },
  };
}
