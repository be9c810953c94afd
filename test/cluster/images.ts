/** Images of the cluster's pods, made on the spot out of programs of this machine, since no registry is asked. */
import { readFileSync } from 'node:fs';
import { programImage, toolsImage } from '../support/image.ts';
import { arch, released, version } from '../support/release.ts';
import { kubernetes, scratch } from './daemon.ts';

/** What the proofs' pods run, and what asks them. */
export const podProgram = `${scratch}/pod`;
export const podImage = 'docker.io/library/pod:test';
/** Its program waits, where it is told nothing else. */
export const sandboxImage = podImage;
/** As nodes have it that imported the archive of the release. */
export const agentImage = `docker.io/library/tollgate:${version}`;
export const dnsImage = 'docker.io/library/coredns:test';

/** Of Kubernetes' own end-to-end tests: names that only need to be there, and those that stand for agnhost. */
const suiteImage = 'registry.k8s.io/e2e-test-images/agnhost:2.56';
const suiteServer = 'registry.k8s.io/e2e-test-images/nginx:1.14-4';
const suiteRegression = 'registry.k8s.io/e2e-test-images/regression-issue-74839:1.2';
/** Of the conformance suite of ClusterNetworkPolicy. */
export const conformanceImage = 'registry.k8s.io/e2e-test-images/agnhost:2.45';
export const suiteImages = [suiteImage, suiteServer, suiteRegression] as const;

const suitePrograms = {
  agnhost: `${kubernetes}/agnhost`,
  bash: '/bin/bash',
  sh: '/bin/dash',
  conntrack: '/usr/sbin/conntrack',
  curl: '/usr/bin/curl',
  dig: '/usr/bin/dig',
  getent: '/usr/bin/getent',
  ip: '/usr/sbin/ip',
  nc: '/bin/nc.openbsd',
  nslookup: '/usr/bin/nslookup',
  ping: '/bin/ping',
  ps: '/bin/ps',
} as const;
const suiteApplets =
  'awk basename cat chmod cp cut date dirname echo env expr false find grep head hostname httpd id kill ls mkdir mv netstat nohup printf pwd readlink rm sed seq sleep sort stat tail tee telnet test timeout touch tr traceroute true uniq wc which xargs ['.split(
    ' ',
  );

/** The kernel may have no sockets of SCTP: what would open one sends packets of its own. All else agnhost does. */
const sctpProgram = `${scratch}/sctp`;
const agnhostWithSctp = `#!/bin/sh
case " $* " in
  ' porter ') exec /bin/sctp serve ;;
  *' --protocol=sctp '*) ;;
  *) exec /bin/agnhost "$@" ;;
esac
for word; do case $word in --timeout=*) patience=\${word#*=} ;; esac; done
exec /bin/sctp ask "$patience" "\${word%:*}" "\${word##*:}"
`;

const suiteArchive = (name: string, aliases: readonly string[], words: readonly string[]): Buffer =>
  toolsImage(name, {
    aliases,
    programs: suitePrograms,
    applets: suiteApplets,
    files: {
      // busybox's own looks up names by what a static program has not.
      'bin/wget': '#!/bin/sh\nfor url; do :; done\nexec curl -gsS -m 2 "$url"\n',
      'localhost.crt': readFileSync(`${kubernetes}/localhost.crt`),
      'localhost.key': readFileSync(`${kubernetes}/localhost.key`),
    },
    links: { agnhost: 'bin/agnhost', 'agnhost-2': 'bin/agnhost' },
    entrypoint: ['/agnhost'],
    command: words,
  });

/** Archives as `docker save` makes them, by what makes them. */
export const archives: Readonly<Record<string, () => Buffer>> = {
  [podImage]: () => programImage(podImage, podProgram, ['wait']),
  [agentImage]: () => readFileSync(released(`tollgate-${version}-${arch}.oci.tar`)),
  [suiteImage]: () =>
    suiteArchive(
      suiteImage,
      [
        'registry.k8s.io/e2e-test-images/jessie-dnsutils:1.7',
        'registry.k8s.io/e2e-test-images/busybox:1.37.0-1',
        'registry.k8s.io/build-image/distroless-iptables:v0.7.14',
        'registry.k8s.io/pause:3.10.1',
      ],
      ['pause'],
    ),
  [conformanceImage]: () =>
    toolsImage(conformanceImage, {
      programs: { agnhost: suitePrograms.agnhost, bash: suitePrograms.bash, sctp: sctpProgram },
      applets: ['sh'],
      files: { agnhost: agnhostWithSctp },
      links: {},
      entrypoint: ['/agnhost'],
      command: ['pause'],
    }),
  [suiteServer]: () =>
    suiteArchive(suiteServer, ['registry.k8s.io/e2e-test-images/httpd:2.4.38-4'], ['netexec', '--http-port=80']),
  [suiteRegression]: () => programImage(suiteRegression, `${kubernetes}/regression-issue-74839`, []),
  [dnsImage]: () => programImage(dnsImage, `${kubernetes}/coredns`, []),
};
