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

/** Each at once, with the patience that its verdict asks for. */
export const verdictsAre = async (verdicts: Verdicts, ask: AskFlow): Promise<void> =>
  assert.deepEqual(await read(verdicts, ask, isAllowed => (isAllowed ? ANSWER : SILENCE)), verdicts);

/** They come about, and stay so. An answer that is only late is not taken for silence: the next reading must not find it. */
export async function settle(verdicts: Verdicts, ask: AskFlow): Promise<void> {
  await eventually(verdicts, async () => await read(verdicts, ask, () => SILENCE));
  await verdictsAre(verdicts, ask);
}
