/**
 * Lists the contents of executable and image as CycloneDX: packages of npm, Node and its components, packages of Debian.
 *
 * @see https://cyclonedx.org/docs/1.6/json/ and https://github.com/package-url/purl-spec
 */
import { execFileSync } from 'node:child_process';
import type { Carried } from '../../lib/cli/licenses.ts';
import type { About } from './about.ts';
import type { DebianPackage } from './debian.ts';

interface Component {
  readonly type: 'application' | 'library';
  readonly 'bom-ref': string;
  readonly name: string;
  readonly version: string;
  readonly purl: string;
  readonly licenses?: readonly { readonly license: { readonly id: string } }[];
  readonly hashes?: readonly { readonly alg: 'SHA-256'; readonly content: string }[];
}

const component = (
  purl: string,
  { name, version, license, sum }: { name: string; version: string; license?: string; sum?: string },
): Component => ({
  ...{ type: 'library', 'bom-ref': purl, name, version, purl },
  ...(license === undefined ? {} : { licenses: [{ license: { id: license } }] }),
  ...(sum === undefined ? {} : { hashes: [{ alg: 'SHA-256', content: sum }] }),
});

/** Node's package for npm stands for Node itself. */
const isNode = ({ name }: Carried): boolean => name.startsWith('node-linux-');

/** `@scope/name` has its scope's sign encoded. */
const npmPurl = ({ name, version }: Carried): string => `pkg:npm/${name.replace('@', '%40')}@${version}`;

/** Node's components by `process.versions`, three entries of which are versions of interfaces. */
function inNode(): readonly Component[] {
  const interfaces = new Set(['node', 'modules', 'napi']);
  return Object.entries(process.versions)
    .filter(([name, version]) => version && !interfaces.has(name))
    .map(([name, version]) => component(`pkg:generic/${name}@${version}`, { name, version: version! }));
}

const debianPurl = ({ name, version }: DebianPackage, arch: string): string =>
  `pkg:deb/debian/${encodeURIComponent(name)}@${encodeURIComponent(version)}?arch=${arch}&distro=debian-12`;

/** @param packages  in the image, beside the executable */
export function billOfMaterials(about: About, packages: readonly DebianPackage[]): object {
  const { version, arch, time, license, executable } = about;
  const carried = JSON.parse(
    execFileSync(executable, ['licenses', '-o', 'json'], { encoding: 'utf8', maxBuffer: 1 << 24 }),
  ) as readonly Carried[];
  const npm = carried
    .filter(each => each.name !== 'tollgate' && !isNode(each))
    .map(each => component(npmPurl(each), each));
  const node = component(`pkg:generic/node@${process.versions.node}`, {
    ...{ name: 'node', version: process.versions.node, license: carried.find(isNode)!.license },
  });
  const madeOf = inNode();
  const debian = packages.map(each => component(debianPurl(each, arch), each));
  const main: Component = {
    ...component(`pkg:generic/tollgate@${version}`, { name: 'tollgate', version, license }),
    type: 'application',
  };
  const refs = (of: readonly Component[]): readonly string[] => of.map(each => each['bom-ref']);
  return {
    bomFormat: 'CycloneDX',
    specVersion: '1.6',
    version: 1,
    metadata: { timestamp: time.toISOString(), component: main },
    components: [...npm, node, ...madeOf, ...debian],
    dependencies: [
      { ref: main['bom-ref'], dependsOn: refs([...npm, node, ...debian]) },
      { ref: node['bom-ref'], dependsOn: refs(madeOf) },
    ],
  };
}
