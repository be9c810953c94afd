import manifest from '../../package.json' with { type: 'json' };
import { command, exit, UsageError } from './command.ts';

const folder = (describe: string, fallback: string) =>
  ({ type: 'string', describe, default: fallback, requiresArg: true, normalize: true }) as const;

/** Resolves at the first signal that asks for an end. SIGHUP rings; SIGUSR1 would make Node open a debugger. */
const untilAsked = (ring: () => void): Promise<void> =>
  new Promise(resolve => {
    process.on('SIGUSR1', () => {}).on('SIGHUP', ring);
    for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => resolve());
  });

export const agent = command(
  'agent',
  'Serve CNI calls from one warm process, and apply the policies folder whenever it changes',
  parser =>
    parser
      .options({
        kubernetes: {
          type: 'boolean',
          default: true,
          describe: 'Listen to the Kubernetes API (not in this version: say --no-kubernetes)',
        },
        'run-dir': folder(
          'Where the socket and the node\'s lock are: "runDir" of the networks served',
          '/run/tollgate',
        ),
        'state-dir': folder('"stateDir" of the networks served', '/var/lib/tollgate'),
        policies: folder('Folder of policy manifests: "policies" of the networks served', '/etc/tollgate/policies'),
        established: {
          choices: ['cut', 'keep'],
          default: 'cut',
          describe: 'What becomes of connections that a change of the folder no longer allows',
        } as const,
      })
      .example('$0 agent --no-kubernetes', 'for podman, nerdctl and cnitool; see conf/tollgate-agent.service')
      .epilog(
        'Networks with "enforcer": "inline" and these three folders hand their calls to it; all others, and all while it is not there, carry them out themselves. SIGTERM: finishes the calls under way; rules stay in place. SIGHUP: looks at the folder now.',
      ),
  async options => {
    if (options.kubernetes)
      throw new UsageError('This version has no listener for the Kubernetes API: say --no-kubernetes');
    const { startWorker } = await import('../agent/worker.ts');
    const { logToStderr } = await import('../agent/log.ts');
    const { runDir, stateDir, policies, established } = options;
    const worker = await startWorker({
      release: manifest.version,
      runDir,
      owner: { enforcer: 'inline', stateDir, policies },
      established,
      log: logToStderr,
    });
    await untilAsked(worker.ring);
    await worker.stop();
    return exit.yes;
  },
);
