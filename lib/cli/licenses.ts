import { getAsset, isSea } from 'node:sea';
import { command, exit, outputOption, print, printJson } from './command.ts';

/** A package whose code is in the executable. */
export interface Carried {
  readonly name: string;
  readonly version: string;
  /** The licence's name, as SPDX spells it, or as the package does. */
  readonly license: string;
  readonly text: string;
}

export const licenses = command(
  'licenses',
  'Print the licences of tollgate and of what it carries',
  parser =>
    parser
      .options(outputOption)
      .example('$0 licenses', 'each package with the text of its licence')
      .example('$0 licenses -o json', 'for an inventory'),
  ({ output }) => {
    if (!isSea()) throw new Error('Cannot list what is carried: only the executable knows; make it with ./build.sh');
    const carried = JSON.parse(getAsset('licenses.json', 'utf8')) as readonly Carried[];
    if (output === 'json') printJson(carried);
    else
      for (const { name, version, license, text } of carried)
        print(`${name} ${version} (${license})\n\n${text}\n${'-'.repeat(80)}`);
    return exit.yes;
  },
);
