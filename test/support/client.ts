/** A host on which a real CNI client finds plugin and conflist where it looks for them, and nothing of the machine's. */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { peerDir, tollgateDir } from './cni.ts';
import { Host } from './host.ts';

/** The conflist that the project ships, which must work with each client unchanged. */
export const conflist = readFileSync(
  fileURLToPath(new URL('../../conf/10-tollgate.conflist', import.meta.url)),
  'utf8',
);
export const network = 'tollgate';

/** /etc is a copy, /opt is empty; both end with the host, as do all processes. */
export async function startClientHost(): Promise<Host> {
  const setup = `mkdir /run/etc; cp -a /etc/. /run/etc; mount --bind /run/etc /etc; mount -t tmpfs tmpfs /opt
    [ -e "$PWD/package.json" ] || { mkdir -p "$PWD"; mount --bind . "$PWD"; }
    rm -rf /etc/cni /etc/tollgate; mkdir -p /etc/cni/net.d /etc/tollgate/policies /opt/cni/bin
    ln -s ${tollgateDir}/tollgate ${tollgateDir}/tollgate-ipam ${peerDir}/* /opt/cni/bin/`;
  const host = await Host.start({ pids: true, setup });
  host.write('/etc/cni/net.d/10-tollgate.conflist', conflist);
  return host;
}

/** libcni's cache of an attachment, from which DEL gets the result of ADD. */
interface Cached {
  readonly containerId: string;
  readonly ifName: string;
  readonly result: { readonly ips: readonly { readonly address: string }[] };
}

const readCached = (text: string): Cached => JSON.parse(text) as Cached;
const bareAddresses = ({ result }: Cached): string[] => result.ips.map(({ address }) => address.split('/')[0]!);

/** Addresses in one file of libcni's cache, which is one attachment. */
export const addressesIn = (text: string): string[] => bareAddresses(readCached(text));

/** Addresses by container, as libcni remembers them: no client's word for it, and the same for all. */
export function cachedAddresses(host: Host): Map<string, string[]> {
  const entries = host.files('/var/lib/cni/results').map(file => {
    const cached = readCached(readFileSync(host.path(file), 'utf8'));
    return [cached.containerId, bareAddresses(cached)] as const;
  });
  return new Map(entries);
}
