/** Runs the parts that were asked for, in the namespaces that bench.sh made. */
import { spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { agent } from './agent.ts';
import { datapath } from './datapath.ts';
import { gate } from './gate.ts';
import { nft } from './nft.ts';
import { picture, themes } from './picture.ts';
import { plugin } from './plugin.ts';
import { pluginLabel, pluginPanels } from './plugin-panels.ts';
import { sayer } from './progress.ts';
import { formatMarkdown, formatReport, type Row, reportOf } from './report.ts';
import { requests } from './requests.ts';
import { tiers } from './tiers.ts';
import { worker } from './worker.ts';

/** A table, row by row as they are found. */
export type Part = (say: (progress: string) => void) => Promise<readonly Row[]>;

const parts: Readonly<Record<string, Part>> = { worker, plugin, nft, datapath, gate, requests, tiers, agent };

function nftVersion(): string {
  const { stdout } = spawnSync('nft', ['--version'], { encoding: 'utf8' });
  return /v([0-9]\S*)/.exec(stdout)?.[1] ?? 'of unknown version';
}

const peers = () => ({
  "Debian's CNI plugins": process.env['TOLLGATE_BENCH_PEER'] || 'of unknown version',
  'the newest reference plugins': process.env['TOLLGATE_BENCH_REFERENCE'] || 'not there',
  nft: nftVersion(),
  Node: process.version,
});

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({ allowPositionals: true, options: { json: { type: 'boolean' } } });
  const command = ['npm run bench', ...(positionals.length > 0 ? ['--', ...positionals] : [])].join(' ');
  const unknown = positionals.filter(name => !parts[name]);
  if (unknown.length > 0) {
    console.error(`npm run bench: no part ${unknown.join(', ')}; there are ${Object.keys(parts).join(', ')}`);
    return 2;
  }
  const rows: Row[] = [];
  for (const [name, part] of Object.entries(parts)) {
    if (positionals.length > 0 && !positionals.includes(name)) continue;
    rows.push(...(await part(sayer(name))));
  }
  const report = reportOf(rows, peers(), command);
  mkdirSync('dist', { recursive: true });
  writeFileSync('dist/bench.json', `${JSON.stringify(report, null, 2)}\n`);
  writeFileSync('dist/bench.md', formatMarkdown(report));
  for (const theme of themes)
    writeFileSync(`dist/bench-${theme}.svg`, picture(pluginPanels(rows), report, pluginLabel, theme));
  process.stdout.write(values.json ? `${JSON.stringify(report, null, 2)}\n` : formatReport(report));
  return 0;
}

// The first process of its namespace gets no signal that it does not ask for.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => process.exit(1));
process.exitCode = await main();
