/** The Helm chart, out of the manifests that `tollgate install --kubernetes` prints: one source for both. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { clusterPolicyDefinition } from '../../lib/cli/install/crds.ts';
import type { ArchiveEntry } from '../../lib/cli/sysdump/archive.ts';
import { type About, inTree } from './about.ts';

const manifest = (name: string): string => readFileSync(inTree('conf/kubernetes', name), 'utf8');
const own = (name: string): string => readFileSync(join(import.meta.dirname, 'chart', name), 'utf8');

/** Texts of the DaemonSet, each with its text in the template. */
const placeholders: readonly (readonly [text: string, template: string])[] = [
  ['/opt/cni/bin', '{{ .Values.binDir }}'],
  ['/etc/cni/net.d', '{{ .Values.confDir }}'],
  ['/run/tollgate', '{{ .Values.runDir }}'],
  ['/var/lib/tollgate', '{{ .Values.stateDir }}'],
];

/** Behind the agent's last option. */
const options = `
            {{- with .Values.mtu }}
            - --mtu={{ int . }}
            {{- end }}
            {{- if not .Values.ipMasq }}
            - --no-ip-masq
            {{- end }}
            {{- if .Values.takeOver }}
            - --take-over
            {{- end }}
            {{- if .Values.flows }}
            - --flows
            {{- if .Values.flowAccounting }}
            - --flow-accounting
            {{- end }}
            {{- with .Values.ui }}
            - --ui={{ . }}
            {{- end }}
            {{- end }}`;

/** @throws Error the manifest lacks what is to be replaced */
function replaced(text: string, from: string, to: string): string {
  if (!text.includes(from)) throw new Error(`Cannot make a template of the DaemonSet: ${from} is not in it`);
  return text.replaceAll(from, to);
}

function daemonSet({ version }: About): string {
  const image = `image: docker.io/library/tollgate:${version}`;
  const template = '{{ .Values.image | default (printf "docker.io/library/tollgate:%s" .Chart.AppVersion) | quote }}';
  const withOptions = replaced(
    manifest('daemonset.yaml'),
    '            - --state-dir=/var/lib/tollgate',
    `            - --state-dir=/var/lib/tollgate${options}`,
  );
  const withImage = replaced(withOptions, image, `image: ${template}`);
  return placeholders.reduce((text, [from, to]) => replaced(text, from, to), withImage);
}

const apiServer = `{{- with .Values.apiServer -}}
apiVersion: v1
kind: ConfigMap
metadata:
  name: tollgate-api-server
  namespace: kube-system
data:
  TOLLGATE_API_SERVER: {{ printf "https://%s" . | quote }}
{{- end }}
`;

/** Among the templates, since Helm neither changes nor chooses what lies in a chart's folder `crds`. */
const definition = async (): Promise<string> => `{{- if and .Values.withCrds .Values.cel }}
${await clusterPolicyDefinition(true)}
{{- else if .Values.withCrds }}
${await clusterPolicyDefinition(false)}
{{- end }}
`;

/** The chart's files in one folder, as Helm wants them. */
export async function chart(about: About): Promise<readonly ArchiveEntry[]> {
  const { version, description, url } = about;
  const head = {
    ...{ apiVersion: 'v2', name: 'tollgate', type: 'application', version, appVersion: version, description },
    kubeVersion: '>=1.20.0-0',
    ...(url === undefined ? {} : { home: url, sources: [url] }),
  };
  const files: Readonly<Record<string, string>> = {
    'Chart.yaml': `${JSON.stringify(head, null, 2)}\n`,
    'values.yaml': own('values.yaml'),
    'values.schema.json': own('values.schema.json'),
    'templates/NOTES.txt': own('NOTES.txt'),
    'templates/serviceaccount.yaml': manifest('serviceaccount.yaml'),
    'templates/rbac.yaml': manifest('rbac.yaml'),
    'templates/daemonset.yaml': daemonSet(about),
    'templates/api-server.yaml': apiServer,
    'templates/clusternetworkpolicies.yaml': await definition(),
    LICENSE: readFileSync(inTree('LICENSE'), 'utf8'),
  };
  return Object.entries(files).map(([path, content]) => ({ path: `tollgate/${path}`, content }));
}

/** conf/kubernetes as it is, for `kubectl apply -k`. */
export const kustomization = (): readonly ArchiveEntry[] =>
  ['kustomization.yaml', 'serviceaccount.yaml', 'rbac.yaml', 'daemonset.yaml'].map(name => ({
    path: name,
    content: manifest(name),
  }));
