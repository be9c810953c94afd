/** The agent as it is shipped for clusters: by the chart of the release, which asks for the image that nodes have imported. */
import { execFileSync } from 'node:child_process';
import { parseAllDocuments } from 'yaml';
import { tollgateDir } from '../support/cni.ts';
import { released, version } from '../support/release.ts';
import type { KubeObject } from './api.ts';
import { place } from './control.ts';

/** Of the chart, beside those that such a node needs. */
export interface AgentValues {
  readonly flows?: boolean;
}

export function agentManifests({ flows = false }: AgentValues = {}): readonly KubeObject[] {
  const values = { apiServer: place, binDir: '/run/cni/bin', confDir: '/run/cni/net.d' };
  const texts = Object.entries(values).flatMap(([name, value]) => ['--set-string', `${name}=${value}`]);
  const set = [...texts, '--set', `flows=${flows}`];
  const args = ['template', 'tollgate', released(`tollgate-${version}.tgz`), '--namespace', 'kube-system', ...set];
  // helm keeps what it knows of repositories: here nothing.
  const env = { PATH: process.env['PATH'], HOME: '/nonexistent' };
  const text = execFileSync(`${tollgateDir}/tools/helm`, args, { encoding: 'utf8', env });
  return parseAllDocuments(text)
    .map(document => document.toJS() as KubeObject | null)
    .filter(object => object !== null);
}
