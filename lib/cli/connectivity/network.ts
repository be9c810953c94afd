/** A network's plugins called as container runtimes call them: by the conflist that runtimes would take. */
import { join } from 'node:path';
import { confFilesIn, readForeign } from '../../state/conf-folder.ts';
import { isObject } from '../../state/shape.ts';
import { PATH, runProgram } from '../program.ts';

type Fields = Readonly<Record<string, unknown>>;

export interface AddResult {
  readonly ips?: readonly { readonly address: string }[];
}

export interface TestAttachment {
  readonly containerID: string;
  /** A path. */
  readonly netns: string;
  readonly args: string;
  /** Values by capability; a plugin gets those that it declares. */
  readonly runtimeConfig: Fields;
}

const said = (stdout: string, stderr: string): string => {
  try {
    const { msg, details } = JSON.parse(stdout) as { readonly msg?: string; readonly details?: string };
    return [msg, details].filter(text => text !== undefined && text !== '').join('; ');
  } catch {
    return stdout + stderr;
  }
};

export class Network {
  readonly file: string;
  readonly #list: Fields;
  readonly #binDir: string;
  readonly #results = new Map<string, AddResult>();

  /** @throws Error where runtimes would take no network, or another's */
  static find(confDir: string, binDir: string): Network {
    const [first] = confFilesIn(confDir).filter(
      ({ conf }) => conf !== undefined && !conf.types.every(type => type === 'loopback'),
    );
    if (!first) throw new Error(`Cannot test a network: there is none in ${confDir}; see \`tollgate install\``);
    const file = join(confDir, first.file);
    if (!first.conf?.types.includes('tollgate'))
      throw new Error(
        `Cannot test tollgate: runtimes take ${file}, which is another's; move it away, or name --conf-dir`,
      );
    return new Network(file, JSON.parse(readForeign(file)) as Fields, binDir);
  }

  private constructor(file: string, list: Fields, binDir: string) {
    this.file = file;
    this.#list = list;
    this.#binDir = binDir;
  }

  get plugins(): readonly Fields[] {
    const { plugins } = this.#list;
    return Array.isArray(plugins) ? plugins.filter(isObject) : [this.#list];
  }

  /** The configuration of the plugin that is ours. */
  get own(): Fields {
    return this.plugins.find(({ type }) => type === 'tollgate') ?? {};
  }

  /** Stdin and environment of a STATUS of our own plugin. */
  statusCall(): { readonly stdin: string; readonly env: Readonly<Record<string, string>> } {
    const { capabilities: _, ...own } = this.own;
    const stdin = JSON.stringify({ ...own, cniVersion: '1.1.0', name: this.#list['name'] });
    return { stdin, env: { CNI_COMMAND: 'STATUS', CNI_PATH: this.#binDir } };
  }

  has(capability: string): boolean {
    return this.plugins.some(({ capabilities }) => (capabilities as Fields | undefined)?.[capability] === true);
  }

  async #call(
    verb: 'ADD' | 'DEL',
    plugin: Fields,
    pod: TestAttachment,
    prevResult: AddResult | undefined,
  ): Promise<AddResult | undefined> {
    const { capabilities, ...rest } = plugin;
    const declared = Object.entries(pod.runtimeConfig).filter(
      ([name]) => (capabilities as Fields | undefined)?.[name] === true,
    );
    const { cniVersion, name } = this.#list;
    const input = JSON.stringify({
      ...rest,
      cniVersion,
      name,
      runtimeConfig: Object.fromEntries(declared),
      ...(prevResult ? { prevResult } : {}),
    });
    const env = {
      ...{ PATH, CNI_COMMAND: verb, CNI_CONTAINERID: pod.containerID, CNI_NETNS: pod.netns, CNI_IFNAME: 'eth0' },
      ...{ CNI_PATH: this.#binDir, CNI_ARGS: pod.args },
    };
    const type = String(plugin['type']);
    const { exit, stdout, stderr } = await runProgram(join(this.#binDir, type), [], { env, input });
    if (exit !== 0) throw new Error(`${verb} by ${type} failed: ${said(stdout.toString(), stderr)}`);
    return verb === 'ADD' ? (JSON.parse(stdout.toString()) as AddResult) : undefined;
  }

  /** @throws Error with what the plugin says */
  async add(pod: TestAttachment): Promise<AddResult> {
    let result: AddResult | undefined;
    for (const plugin of this.plugins) result = await this.#call('ADD', plugin, pod, result);
    this.#results.set(pod.containerID, result ?? {});
    return result ?? {};
  }

  /** @throws Error with what the plugin says */
  async remove(pod: TestAttachment): Promise<void> {
    const result = this.#results.get(pod.containerID);
    for (const plugin of this.plugins.toReversed()) await this.#call('DEL', plugin, pod, result);
  }
}
