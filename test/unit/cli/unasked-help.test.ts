/** Help costs its time where it is asked for, and nowhere else. */
import assert from 'node:assert/strict';
import test from 'node:test';
import yargs, { type Argv } from 'yargs';
import { parserOf } from '../../../lib/cli/main.ts';
import { withoutUnaskedHelp } from '../../../lib/cli/unasked-help.ts';

interface Untyped {
  readonly getInternalMethods: () => { readonly getUsageInstance: () => { hasCachedHelpMessage: () => boolean } };
}

const hasLaidOutHelp = (parser: Argv): boolean =>
  (parser as unknown as Untyped).getInternalMethods().getUsageInstance().hasCachedHelpMessage();

const greeter = (words: readonly string[]): Argv =>
  yargs([...words])
    .exitProcess(false)
    .command('greet', 'Say nothing', {}, async () => {});

test('a command that is run lays out no help', async () => {
  const parser = parserOf(['version'], 'tollgate', () => {});
  await parser.parseAsync();
  assert.equal(hasLaidOutHelp(parser), false);
});

test('yargs lays it out where it is left alone', async () => {
  const parser = greeter(['greet']);
  await parser.parseAsync();
  assert.equal(hasLaidOutHelp(parser), true);
});

test('help that is asked for is whole', async () => {
  const alone = await greeter([]).getHelp();
  assert.equal(await withoutUnaskedHelp(greeter([])).getHelp(), alone);
  assert.match(alone, /greet +Say nothing/);
});
