/** `enforcer: exec:<path>`: the tag as one JSON object on a program's stdin, its exit code as the verdict. */
import { CniError, codes } from '../cni/error.ts';
import type { LocalPod } from '../gate/node-state.ts';
import { formatTag } from '../tag/tag.ts';

export interface ProgramOptions {
  readonly config: { readonly enforceTimeout: number };
  readonly log: (line: string) => void;
  readonly signal?: AbortSignal | undefined;
}

/** The JSON that the program gets; a contract with admins' scripts. */
export const tagDocument = (pod: LocalPod): string =>
  `${JSON.stringify({
    tag: pod.tag,
    tagHex: formatTag(pod.tag),
    interface: pod.link,
    network: pod.network,
    containerID: pod.containerID,
    ifname: pod.ifname,
    namespace: pod.namespace,
    name: pod.name,
    labels: pod.labels,
    namedPorts: pod.namedPorts,
    addresses: pod.addresses,
  })}\n`;

/** The pod stays in quarantine while it runs. @throws CniError `enforcementRefused` unless it exits with 0 in time */
export async function runProgram(path: string, pod: LocalPod, { config, log, signal }: ProgramOptions): Promise<void> {
  const { spawn } = process.getBuiltinModule('node:child_process');
  const limit = AbortSignal.timeout(config.enforceTimeout * 1000);
  const child = spawn(path, [], {
    stdio: ['pipe', 'pipe', 'pipe'],
    signal: signal ? AbortSignal.any([signal, limit]) : limit,
    killSignal: 'SIGKILL',
  });
  const output = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const)
    child[name].setEncoding('utf8').on('data', (text: string) => {
      output[name] = (output[name] + text).slice(0, 8192);
    });
  // A program that does not read what it is told may still say yes.
  child.stdin.on('error', () => {}).end(tagDocument(pod));
  const ended = await new Promise<string | undefined>(resolve => {
    child.on('error', error => resolve(limit.aborted ? `no verdict within ${config.enforceTimeout} s` : error.message));
    child.on('close', (code, killer) => resolve(code === 0 ? undefined : `exit code ${code ?? killer}`));
  });
  if (output.stderr !== '') log(output.stderr.trimEnd());
  if (ended === undefined) return;
  throw new CniError(
    codes.enforcementRefused,
    `Cannot open ${pod.namespace}/${pod.name}: enforcer ${path} did not agree: ${ended}`,
    (output.stderr || output.stdout).trim().slice(0, 2000),
  );
}
