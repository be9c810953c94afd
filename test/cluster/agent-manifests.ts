/** The agent as it is shipped for clusters: what `tollgate install --kubernetes` prints. */
import { execFileSync } from 'node:child_process';
import { parseAllDocuments } from 'yaml';
import type { KubeObject } from './api.ts';
import { place } from './control.ts';
import { agentExecutable, agentImage } from './images.ts';

export function agentManifests(): readonly KubeObject[] {
  const folders = ['--bin-dir', '/run/cni/bin', '--conf-dir', '/run/cni/net.d'];
  const args = ['install', '--kubernetes', '--image', agentImage, '--api-server', place, ...folders];
  const text = execFileSync(agentExecutable, args, { encoding: 'utf8' });
  return parseAllDocuments(text).map(document => document.toJS() as KubeObject);
}
