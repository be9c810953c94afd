import { isContainerName, isNamespaceName, isObjectName } from '../tag/object-names.ts';
import { printable } from '../tag/printable.ts';
import { CniError, codes } from './error.ts';
import { parseMac, parseRequestedAddress, type RequestedAddress } from './requested-address.ts';

/** The values of CNI_ARGS: the pod, as Kubernetes runtimes name it, and IP and MAC of podman and ocicni. */
export interface CniArgs {
  readonly ips: readonly RequestedAddress[];
  readonly mac?: string;
  /** Undefined where absent or empty. Not necessarily a Kubernetes name: podman puts the container's name here. */
  readonly podNamespace?: string;
  readonly podName?: string;
  readonly podUid?: string;
  readonly infraContainerID?: string;
}

export const noArgs: CniArgs = { ips: [] };

const invalid = (problem: string) => new CniError(codes.invalidEnvironment, `CNI_ARGS: ${problem}`);

const texts = {
  K8S_POD_NAMESPACE: 'podNamespace',
  K8S_POD_NAME: 'podName',
  K8S_POD_UID: 'podUid',
  K8S_POD_INFRA_CONTAINER_ID: 'infraContainerID',
} as const;

const isText = (key: string): key is keyof typeof texts => Object.hasOwn(texts, key);

function parseIps(value: string): RequestedAddress[] {
  return value.split(',').map(part => {
    const address = parseRequestedAddress(part.trim());
    if (!address) throw invalid(`IP=${value} is not an address, an address/length, or a comma-separated list of them`);
    return address;
  });
}

function parseIgnoreUnknown(value: string): boolean {
  const folded = value.toLowerCase();
  if (folded === '1' || folded === 'true') return true;
  if (folded === '0' || folded === 'false') return false;
  throw invalid(`IgnoreUnknown=${value} is none of 1, true, 0, false`);
}

/** A name that was refused, as a message has it. */
const shown = (text: string): string => printable(text.length > 100 ? `${text.slice(0, 100)}…` : text);

const keyOf = { podNamespace: 'K8S_POD_NAMESPACE', podName: 'K8S_POD_NAME', podUid: 'K8S_POD_UID' } as const;

function checkName(key: keyof typeof keyOf, name: string | undefined, fits: (name: string) => boolean, rule: string) {
  if (name !== undefined && !fits(name)) throw invalid(`${keyOf[key]}=${shown(name)} is no name: expected ${rule}`);
}

const containerRule = 'a letter or digit, then letters, digits, "_", "." or "-"';

/**
 * A uid comes from Kubernetes only, and then names are what its API server takes. Other callers give the name of a container,
 * in both: podman, nerdctl, a person with cnitool.
 */
function checkNames({ podNamespace, podName, podUid }: Pick<CniArgs, keyof typeof keyOf>): void {
  checkName('podUid', podUid, isContainerName, containerRule);
  const isKubernetes = podUid !== undefined;
  checkName(
    'podNamespace',
    podNamespace,
    isKubernetes ? isNamespaceName : isContainerName,
    isKubernetes ? 'a DNS label: at most 63 of a-z, 0-9 and "-"' : containerRule,
  );
  checkName(
    'podName',
    podName,
    isKubernetes ? isObjectName : isContainerName,
    isKubernetes ? 'a DNS name: at most 253 of a-z, 0-9, "-" and "."' : containerRule,
  );
}

/**
 * `K=V;K2=V2`, keys as written, the later of two equal keys wins.
 * Just one `=` in each pair, as Go's LoadArgs has it: a value cannot hold `=` or `;`.
 * @throws CniError code 4 for a pair that is none, a value of the wrong form, a name that is none, and unknown keys without
 * IgnoreUnknown
 * @see containernetworking/cni pkg/types/args.go
 */
export function parseArgs(text: string): CniArgs {
  if (text === '') return noArgs;
  let ips: readonly RequestedAddress[] = [];
  const found: { mac?: string; podNamespace?: string; podName?: string; podUid?: string; infraContainerID?: string } =
    {};
  const unknown: string[] = [];
  let ignoreUnknown = false;
  for (const pair of text.split(';')) {
    const [key, value, ...rest] = pair.split('=');
    if (key === undefined || key === '' || value === undefined || rest.length > 0)
      throw invalid(`invalid pair ${JSON.stringify(pair)}, expected KEY=VALUE`);
    if (key === 'IgnoreUnknown') ignoreUnknown = parseIgnoreUnknown(value);
    else if (key === 'IP') ips = value === '' ? [] : parseIps(value);
    else if (key === 'MAC') {
      if (value === '') continue;
      const mac = parseMac(value);
      if (mac === undefined) throw invalid(`MAC=${value} is not a unicast hardware address of six bytes`);
      found.mac = mac;
    } else if (isText(key)) {
      if (value !== '') found[texts[key]] = value;
    } else unknown.push(pair);
  }
  if (unknown.length > 0 && !ignoreUnknown)
    throw invalid(`unknown args ${JSON.stringify(unknown)}; add IgnoreUnknown=1 to have them ignored`);
  checkNames(found);
  return { ips, ...found };
}
