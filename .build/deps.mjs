// @ts-check
/**
 * Exit code 0 where node_modules holds just what package-lock.json asks for on this machine; else a reason on stderr and 1.
 * npm keeps a lockfile of what it installed in node_modules/.package-lock.json. Runs on any Node from 20 on.
 */
import { readFileSync } from 'node:fs';

/** @typedef {{ version?: string, optional?: boolean, [key: string]: unknown }} Entry */
/** @typedef {{ packages: Record<string, Entry> }} Lock */

/** @type {(path: string) => Lock} */
const read = path => JSON.parse(readFileSync(new URL(`../${path}`, import.meta.url), 'utf8'));

/** @returns what is wrong, or nothing */
function difference() {
  const wanted = read('package-lock.json').packages;
  /** @type {Record<string, Entry>} */
  let installed;
  try {
    installed = read('node_modules/.package-lock.json').packages;
  } catch {
    return 'nothing is installed';
  }
  const [wrong] = Object.entries(wanted).filter(([path, { version, optional }]) => {
    if (path === '') return false;
    const found = installed[path]?.version;
    return found === undefined ? !optional : found !== version;
  });
  return wrong && `${wrong[0]} is not ${wrong[1].version}`;
}

const wrong = difference();
if (wrong) console.error(wrong);
process.exitCode = wrong ? 1 : 0;
