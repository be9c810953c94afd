/**
 * `npm run bench -- load [GROUP…]`: what load on a node costs, and whom. Each file in `load/` is a group of rows, which needs no
 * other registration. CHURN_PAIRS (20,000 unless set) is how many pods come and go in `churn`. Runs in the namespaces that
 * bench.sh made. Nothing fails on a figure; an error of a group is told, ends that group only, and makes the exit code 1.
 */

import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { messageOf } from '../../lib/cni/error.ts';
import { formatLoad, formatLoadMarkdown, type LoadGroup, type MeasuredLoad } from './load-report.ts';
import { sayer } from './progress.ts';

const folder = new URL('./load/', import.meta.url);

/** Names of groups, as on the command line. */
const groupNames = (): string[] =>
  readdirSync(folder)
    .filter(file => file.endsWith('.ts'))
    .map(file => file.slice(0, -'.ts'.length))
    .sort();

async function measure(name: string): Promise<MeasuredLoad> {
  const { group } = (await import(new URL(`${name}.ts`, folder).href)) as { readonly group: LoadGroup };
  return { group: name, rows: await group(sayer(name)) };
}

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({ allowPositionals: true, options: { json: { type: 'boolean' } } });
  const names = groupNames();
  const unknown = positionals.filter(name => !names.includes(name));
  if (unknown.length > 0) {
    console.error(`npm run bench -- load: no group ${unknown.join(', ')}; there are ${names.join(', ')}`);
    return 2;
  }
  const measured: MeasuredLoad[] = [];
  let isComplete = true;
  for (const name of positionals.length > 0 ? positionals : names)
    try {
      measured.push(await measure(name));
    } catch (error) {
      isComplete = false;
      console.error(`Cannot measure ${name}: ${messageOf(error)}`);
    }
  mkdirSync('dist', { recursive: true });
  writeFileSync('dist/load.json', `${JSON.stringify(measured, null, 2)}\n`);
  writeFileSync('dist/load.md', formatLoadMarkdown(measured));
  process.stdout.write(values.json ? `${JSON.stringify(measured, null, 2)}\n` : formatLoad(measured));
  return isComplete ? 0 : 1;
}

// The first process of its namespace gets no signal that it does not ask for.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => process.exit(1));
process.exit(await main());
