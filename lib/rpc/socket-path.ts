import { join } from 'node:path';

/** Where the agent of a runtime folder is called. */
export const socketPath = (runDir: string): string => join(runDir, 'cni.sock');
