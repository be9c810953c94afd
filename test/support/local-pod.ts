/** A pod of the node as its table knows it, for tests that care for some of it only. */
import type { LocalPod } from '../../lib/gate/node-state.ts';

/** In the namespace `default`, without a tag, labels, addresses and ports, but for what is given. */
export const untaggedPod = (name: string, more: Partial<LocalPod> = {}): Omit<LocalPod, 'tag'> => ({
  ...{ network: 'net', containerID: name, ifname: 'eth0', link: `tg-${name}`, namespace: 'default', name },
  ...{ labels: {}, given: { config: {}, call: {} }, namedPorts: [], addresses: [], hostPorts: [] },
  ...more,
});
