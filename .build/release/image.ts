/**
 * The image that the DaemonSet runs, made without a container engine.
 *
 * @see OCI image-spec 1.1, image-layout.md, manifest.md, config.md, annotations.md
 */
import { rootCertificates } from 'node:tls';
import { type ArchiveEntry, gzip, sha256, tar } from '../../lib/cli/sysdump/archive.ts';
import type { About } from './about.ts';
import type { DebianPackage } from './debian.ts';

const json = (value: unknown): Buffer => Buffer.from(JSON.stringify(value));

/** Files that programs look for in a root, besides libraries. The certificates are those of the Node that is packed. */
const skeleton: readonly ArchiveEntry[] = [
  { path: 'etc/group', content: 'root:x:0:\nnogroup:x:65534:\n' },
  { path: 'etc/nsswitch.conf', content: 'hosts: files dns\n' },
  {
    path: 'etc/passwd',
    content: 'root:x:0:0:root:/root:/sbin/nologin\nnobody:x:65534:65534:nobody:/nonexistent:/sbin/nologin\n',
  },
  { path: 'etc/ssl/certs/ca-certificates.crt', content: `${rootCertificates.join('\n')}\n` },
  { path: 'root/', mode: 0o700 },
  { path: 'run/' },
  { path: 'tmp/', mode: 0o1777 },
];

interface Blob {
  readonly bytes: Buffer;
  readonly descriptor: { readonly mediaType: string; readonly digest: string; readonly size: number };
}

const blob = (mediaType: string, bytes: Buffer): Blob => ({
  bytes,
  descriptor: { mediaType, digest: `sha256:${sha256(bytes)}`, size: bytes.length },
});

const pathOf = ({ descriptor }: Blob): string => `blobs/${descriptor.digest.replace(':', '/')}`;

/** gzip, since docker before 23 and skopeo of Debian 11 read no zstd. */
async function layerOf(entries: readonly ArchiveEntry[], time: Date): Promise<Blob & { readonly diffId: string }> {
  const bytes = await tar(entries, time);
  return {
    ...blob('application/vnd.oci.image.layer.v1.tar+gzip', await gzip(bytes)),
    diffId: `sha256:${sha256(bytes)}`,
  };
}

const annotationsOf = ({
  version,
  description,
  license,
  time,
  revision,
  url,
}: About): Readonly<Record<string, string>> => {
  const prefix = 'org.opencontainers.image';
  return {
    [`${prefix}.title`]: 'tollgate',
    [`${prefix}.description`]: description,
    [`${prefix}.version`]: version,
    [`${prefix}.licenses`]: license,
    [`${prefix}.created`]: time.toISOString(),
    ...(revision === undefined ? {} : { [`${prefix}.revision`]: revision }),
    ...(url === undefined ? {} : { [`${prefix}.source`]: url }),
  };
};

/**
 * An OCI image layout as a tar archive, which has the list of `docker save` besides: older `docker load` asks for it. Two
 * layers: a new version that stands on the same libraries shares the first.
 */
export async function imageArchive(
  about: About,
  packages: readonly DebianPackage[],
  program: readonly ArchiveEntry[],
): Promise<Buffer> {
  const { version, arch, time } = about;
  const layers = await Promise.all(
    [[...packages.flatMap(({ entries }) => entries), ...skeleton], program].map(entries => layerOf(entries, time)),
  );
  const created = time.toISOString();
  const annotations = annotationsOf(about);
  const config = blob(
    'application/vnd.oci.image.config.v1+json',
    json({
      ...{ created, architecture: arch, os: 'linux' },
      config: {
        Env: ['PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'],
        Entrypoint: ['tollgate'],
        WorkingDir: '/',
        Labels: annotations,
      },
      rootfs: { type: 'layers', diff_ids: layers.map(({ diffId }) => diffId) },
      history: ['libraries of Debian', `tollgate ${version}`].map(comment => ({ created, comment })),
    }),
  );
  const manifest = blob(
    'application/vnd.oci.image.manifest.v1+json',
    json({
      schemaVersion: 2,
      mediaType: 'application/vnd.oci.image.manifest.v1+json',
      config: config.descriptor,
      layers: layers.map(({ descriptor }) => descriptor),
      annotations,
    }),
  );
  // containerd and kubelet take the whole name, skopeo the tag.
  const names = {
    'io.containerd.image.name': `docker.io/library/tollgate:${version}`,
    'org.opencontainers.image.ref.name': version,
  };
  const index = {
    schemaVersion: 2,
    mediaType: 'application/vnd.oci.image.index.v1+json',
    manifests: [{ ...manifest.descriptor, platform: { architecture: arch, os: 'linux' }, annotations: names }],
  };
  const saved = [{ Config: pathOf(config), RepoTags: [`tollgate:${version}`], Layers: layers.map(pathOf) }];
  return tar(
    [
      { path: 'oci-layout', content: json({ imageLayoutVersion: '1.0.0' }) },
      { path: 'index.json', content: json(index) },
      { path: 'manifest.json', content: json(saved) },
      ...[...layers, config, manifest].map(each => ({ path: pathOf(each), content: each.bytes })),
    ],
    time,
  );
}
