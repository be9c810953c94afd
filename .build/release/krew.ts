/**
 * The manifest by which krew installs the executable as `kubectl tollgate`.
 *
 * @see https://krew.sigs.k8s.io/docs/developer-guide/plugin-manifest/
 */
import type { About } from './about.ts';

/** @param archive  the tarball's name and SHA-256. Without an address to load it from, krew is given the file: `--archive` */
export const krewManifest = (
  { version, arch, url }: About,
  { file, sum }: { readonly file: string; readonly sum: string },
): object => ({
  apiVersion: 'krew.googlecontainertools.github.com/v1alpha2',
  kind: 'Plugin',
  metadata: { name: 'tollgate' },
  spec: {
    version: `v${version}`,
    shortDescription: 'Explain network policies, and look into nodes',
    description:
      'Says why a connection is allowed or refused, what a change of policies would open and close, which connections are denied, and how the nodes of the cluster are.',
    ...(url === undefined ? {} : { homepage: url }),
    platforms: [
      {
        selector: { matchLabels: { os: 'linux', arch } },
        uri: url === undefined ? file : `${url}/releases/download/v${version}/${file}`,
        sha256: sum,
        files: [
          { from: `tollgate-${version}/bin/tollgate`, to: '.' },
          { from: `tollgate-${version}/share/doc/tollgate/LICENSE`, to: '.' },
        ],
        bin: 'tollgate',
      },
    ],
  },
});
