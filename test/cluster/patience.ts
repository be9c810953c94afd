/** How long the proofs wait for an answer, and how they tell that what was changed is in force. */
import assert from 'node:assert/strict';
import { eventually } from '../support/until.ts';

/** Milliseconds. An answer comes on a machine that is many times slower, too; silence is not proven by waiting longer. */
export const ANSWER = 30_000;
export const SILENCE = 2000;

/** Exit status of the pods' program where nothing was answered; it has others where it could not ask. */
export const NO_ANSWER = 4;

/** What is asked, and whether it is answered; a word where some of it is. */
export type Verdicts = Readonly<Record<string, boolean>>;
export type AskFlow = (flow: string, patience: number) => Promise<boolean | string>;

async function read(verdicts: Verdicts, ask: AskFlow, patience: (isAllowed: boolean) => number): Promise<object> {
  const asked = Object.entries(verdicts).map(async ([flow, isAllowed]) => [flow, await ask(flow, patience(isAllowed))]);
  return Object.fromEntries(await Promise.all(asked));
}

/** Each at once, with the patience that its verdict asks for. @param silence for what is not to be answered, in milliseconds */
export const verdictsAre = async (verdicts: Verdicts, ask: AskFlow, silence = SILENCE): Promise<void> =>
  assert.deepEqual(await read(verdicts, ask, isAllowed => (isAllowed ? ANSWER : silence)), verdicts);

/** They come about, and stay so. The first reading waits so long that an answer which is only late is not taken for silence. */
export async function settle(verdicts: Verdicts, ask: AskFlow): Promise<void> {
  await eventually(verdicts, async () => await read(verdicts, ask, () => SILENCE));
  await verdictsAre(verdicts, ask, SILENCE / 4);
}
