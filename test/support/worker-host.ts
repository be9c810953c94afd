/** A host with a worker: where most tests of warm processes begin. */
import { type Agent, startAgent } from './agent-process.ts';
import { type Call, config, startHost } from './cni.ts';
import type { Host, HostOptions } from './host.ts';

/** The folder's policies are the network's. */
export async function startWorkerHost(options: HostOptions = {}): Promise<{ host: Host; agent: Agent } & Disposable> {
  const host = await startHost(options);
  const agent = await startAgent(host);
  return {
    host,
    agent,
    [Symbol.dispose]() {
      agent[Symbol.dispose]();
      host[Symbol.dispose]();
    },
  };
}

/** A call for a new pod. */
export const callOf = async (host: Host, containerID: string, more: Partial<Call> = {}): Promise<Call> => ({
  config: config(),
  containerID,
  netns: await host.pod(),
  ...more,
});
