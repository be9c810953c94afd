/** Files that tarball and packages put onto a node, below a prefix. */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import type { ArchiveEntry } from '../../lib/cli/sysdump/archive.ts';
import { type About, inTree } from './about.ts';
import { manualPages } from './man.ts';

const copy = (path: string, from: string, mode?: number): ArchiveEntry => ({
  ...{ path, content: readFileSync(inTree(from)) },
  ...(mode === undefined ? {} : { mode }),
});

const completion = (executable: string, shell: string): string =>
  execFileSync(executable, ['completion'], { encoding: 'utf8', env: { SHELL: shell } });

/** Paths as below /usr. */
export function tree(about: About): readonly ArchiveEntry[] {
  const { executable } = about;
  return [
    { path: 'bin/tollgate', content: readFileSync(executable), mode: 0o755 },
    { path: 'bin/kubectl-tollgate', linkTo: 'tollgate' },
    copy('lib/tollgate/launcher', 'dist/tools/launcher', 0o755),
    copy('lib/systemd/system/tollgate-agent.service', 'conf/tollgate-agent.service'),
    copy('lib/systemd/system/tollgate-agent.socket', 'conf/tollgate-agent.socket'),
    copy('lib/systemd/system/tollgate-kubernetes-agent.service', 'conf/kubernetes/tollgate-agent.service'),
    copy('share/tollgate/10-tollgate.conflist', 'conf/10-tollgate.conflist'),
    copy('share/tollgate/kubernetes/10-tollgate.conflist', 'conf/kubernetes/10-tollgate.conflist'),
    ...['networkmanager-tollgate.conf', 'systemd-networkd-tollgate.conf', 'systemd-networkd-tollgate.network'].map(
      name => copy(`share/tollgate/${name}`, `conf/${name}`),
    ),
    ...['README.md', 'CHANGELOG.md', 'LICENSE'].map(name => copy(`share/doc/tollgate/${name}`, name)),
    ...['KUBERNETES.md', 'POLICIES.md', 'FLOWS.md'].map(name => copy(`share/doc/tollgate/${name}`, `conf/${name}`)),
    copy('share/tollgate/grafana-dashboard.json', 'conf/grafana-dashboard.json'),
    { path: 'share/doc/tollgate/licenses', content: execFileSync(executable, ['licenses']) },
    { path: 'share/bash-completion/completions/tollgate', content: completion(executable, '/bin/bash') },
    { path: 'share/zsh/site-functions/_tollgate', content: completion(executable, '/bin/zsh') },
    { path: 'share/fish/vendor_completions.d/tollgate.fish', content: completion(executable, '/usr/bin/fish') },
    ...manualPages(about).map(({ file, text }) => ({ path: `share/man/man1/${file}`, content: text })),
  ];
}
