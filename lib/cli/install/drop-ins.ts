/** Files that tell network daemons which take links for their own to leave ours alone. */
import { existsSync } from 'node:fs';
import { dirname } from 'node:path';
import { doing } from '../../state/error.ts';
import { makeFolders } from '../../state/make-folders.ts';
import { type ConfName, readConf } from '../conf.ts';
import { isText, placeText } from './place.ts';

interface DropIn {
  readonly conf: ConfName;
  readonly path: string;
  /** Exists where the daemon runs. */
  readonly runs: string;
  /** The command by which the daemon reads it. */
  readonly reload: string;
}

const dropIns: readonly DropIn[] = [
  {
    conf: 'systemd-networkd-tollgate.network',
    path: '/etc/systemd/network/05-tollgate.network',
    runs: '/run/systemd/netif/links',
    reload: 'networkctl reload',
  },
  {
    conf: 'systemd-networkd-tollgate.conf',
    path: '/etc/systemd/networkd.conf.d/tollgate.conf',
    runs: '/run/systemd/netif/links',
    reload: 'systemctl restart systemd-networkd',
  },
  {
    conf: 'networkmanager-tollgate.conf',
    path: '/etc/NetworkManager/conf.d/tollgate.conf',
    runs: '/run/NetworkManager',
    reload: 'systemctl reload NetworkManager',
  },
];

const isThere = ({ conf, path }: DropIn): boolean => isText(path, readConf(conf));

/** Drop-ins of daemons that run here and have none yet. */
export const missingDropIns = () => dropIns.filter(dropIn => existsSync(dropIn.runs) && !isThere(dropIn));

/** What to do where /etc is read-only, as on an image whose configuration is made elsewhere. */
const BY_HAND = 'add the file to what this machine is made from';

/** @returns the paths that were written @throws StateError */
export function placeDropIns(): string[] {
  const missing = missingDropIns();
  for (const { conf, path } of missing) {
    doing('make folder', dirname(path), () => makeFolders(dirname(path), 0o755), BY_HAND);
    placeText(path, readConf(conf), BY_HAND);
  }
  return missing.map(({ path }) => path);
}

/** Files that are as we wrote them. */
export const writtenDropIns = (): readonly DropIn[] => dropIns.filter(isThere);
