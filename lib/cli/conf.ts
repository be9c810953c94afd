/** The files of conf/, which the executable carries along. */
import { readFileSync } from 'node:fs';
import { getAsset, isSea } from 'node:sea';

export type ConfName =
  | '10-tollgate.conflist'
  | 'kubernetes/daemonset.yaml'
  | 'kubernetes/rbac.yaml'
  | 'kubernetes/serviceaccount.yaml'
  | 'network-policy-api/clusternetworkpolicies.yaml'
  | 'networkmanager-tollgate.conf'
  | 'systemd-networkd-tollgate.conf'
  | 'systemd-networkd-tollgate.network';

export const readConf = (name: ConfName): string =>
  isSea() ? getAsset(`conf/${name}`, 'utf8') : readFileSync(new URL(`../../conf/${name}`, import.meta.url), 'utf8');
