import { isObjectName } from '../tag/object-names.ts';
import type { CniArgs } from './args.ts';
import type { Config } from './config.ts';
import { CniError, codes } from './error.ts';

/** Whose pod an attachment is, as far as the call says. */
export interface PodName {
  readonly namespace: string;
  readonly name: string;
}

export const podNameOf = ({
  containerID,
  args,
}: {
  readonly containerID: string;
  readonly args: CniArgs;
}): PodName => ({
  namespace: args.podNamespace ?? 'default',
  name: args.podName ?? containerID,
});

const labelsAnnotation = 'tollgate.dev/labels';

const labelName = /^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$/;

/** @see https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#syntax-and-character-set */
function keyProblem(key: string): string | undefined {
  const slash = key.indexOf('/');
  const prefix = key.slice(0, Math.max(slash, 0));
  const name = key.slice(slash + 1);
  if (slash >= 0 && !isObjectName(prefix))
    return 'a prefix that is a DNS name of at most 253 lower-case characters, before the "/"';
  if (name.length > 63 || !labelName.test(name))
    return 'a name of 1 to 63 letters, digits, "-", "_" or ".", with a letter or digit at both ends';
  return undefined;
}

const valueProblem = (value: string): string | undefined =>
  value !== '' && (value.length > 63 || !labelName.test(value))
    ? 'a value that is empty or of at most 63 letters, digits, "-", "_" or ".", with a letter or digit at both ends'
    : undefined;

const quoted = (text: string) => JSON.stringify(text.length > 300 ? `${text.slice(0, 300)}…` : text);

const refuse = (source: string, what: string, expected: string) =>
  new CniError(codes.invalidConfig, `Cannot use ${what} from ${source}: expected ${expected}`);

/** `a=b,c=d`, spaces around keys and values allowed; nothing but spaces is no labels. */
function parseAnnotation(text: string): ReadonlyMap<string, string> {
  if (text.trim() === '') return new Map();
  return new Map(
    text.split(',').map((pair): [string, string] => {
      const [key, value, ...rest] = pair.split('=');
      if (key === undefined || value === undefined || rest.length > 0)
        throw refuse(`annotation ${labelsAnnotation}`, `label ${quoted(pair)}`, 'key=value pairs, separated by commas');
      return [key.trim(), value.trim()];
    }),
  );
}

function gathered(sources: readonly (readonly [string, ReadonlyMap<string, string>])[]): Map<string, string> {
  const labels = new Map<string, string>();
  for (const [source, found] of sources)
    for (const [key, value] of found) {
      const badKey = keyProblem(key);
      if (badKey) throw refuse(source, `label key ${quoted(key)}`, badKey);
      const badValue = valueProblem(value);
      if (badValue) throw refuse(source, `value ${quoted(value)} of label ${quoted(key)}`, badValue);
      labels.set(key, value);
    }
  return labels;
}

/** The labels that a call brings, apart from each other where a Pod manifest of the policies folder comes between them. */
export interface GivenLabels {
  /** Below the manifest's. */
  readonly config: ReadonlyMap<string, string>;
  /** Above the manifest's: annotation `tollgate.dev/labels` < `args.cni.labels` < `runtimeConfig.labels`. */
  readonly call: ReadonlyMap<string, string>;
}

/**
 * A label that Kubernetes could not hold can be meant by no policy, so it fails the call instead of being dropped:
 * without it, a pod might escape a policy that was to hold it.
 * @throws CniError code 7, naming source, key and rule
 */
export function givenLabels(config: Config): GivenLabels {
  const annotation = parseAnnotation(config.runtime.annotations.get(labelsAnnotation) ?? '');
  return {
    config: gathered([['config key "labels"', config.labels]]),
    call: gathered([
      [`annotation ${labelsAnnotation}`, annotation],
      ['"args.cni.labels"', config.argsCni.labels],
      ['"runtimeConfig.labels"', config.runtime.labels],
    ]),
  };
}
