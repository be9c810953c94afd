/** `tollgate test-pod`: the program of pods of our own making. No person types it, so no help lists it. */
import { command, exit } from '../command.ts';
import { ask, livePod, serve, type TestQuestion } from './pod-program.ts';

export const testPod = command(
  'test-pod',
  false,
  parser =>
    parser.options({
      serve: {
        type: 'string',
        requiresArg: true,
        describe: 'Serve on these ports (80,81), in the network that is there, without an end',
      },
      ask: { type: 'string', requiresArg: true, describe: 'Questions as JSON; prints the replies as JSON' },
    }),
  async ({ serve: ports, ask: questions }) => {
    if (questions !== undefined) {
      const replies = await Promise.all((JSON.parse(questions) as readonly TestQuestion[]).map(ask));
      process.stdout.write(`${JSON.stringify(replies)}\n`);
    } else if (ports !== undefined) {
      const greeting = `hello from ${process.env['HOSTNAME'] ?? 'a pod'}`;
      // The first process of a pod gets no signal that it does not ask for.
      process.once('SIGTERM', () => process.exit(0));
      await serve({ kind: 'serve', ports: ports.split(',').map(Number), greeting, family: 6 });
      await new Promise(() => {});
    } else await livePod();
    return exit.yes;
  },
);
