/** Runs `tollgate verify` while the pods of the test are still there, and returns a line for each finding. */
import { runOwn } from '../program.ts';

export interface Verified {
  readonly differences: readonly { readonly about: string; readonly what: string }[];
  readonly lacking: readonly { readonly severity: string; readonly what: string; readonly fix?: string }[];
}

export function findingsOf({ differences, lacking }: Verified): readonly string[] {
  const grave = lacking.filter(({ severity }) => severity !== 'note');
  return [
    ...differences.map(
      ({ about, what }) => `${about}: ${what} (\`tollgate verify --repair\` mends what can be mended)`,
    ),
    ...grave.map(({ what, fix }) => (fix === undefined ? what : `${what}: ${fix}`)),
  ];
}

export async function examinedHere(args: readonly string[]): Promise<readonly string[]> {
  const { stdout, stderr } = await runOwn(['verify', ...args, '-o', 'json']);
  try {
    return findingsOf(JSON.parse(stdout.toString()) as Verified);
  } catch {
    return [`This node could not be examined: ${stderr}`];
  }
}
