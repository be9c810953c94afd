import { join } from 'node:path';

/** The socket on which the agent of a runtime folder takes calls. */
export const socketPath = (runDir: string): string => join(runDir, 'cni.sock');
