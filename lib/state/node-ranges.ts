/** `<runDir>/node.json`: written by the agent, read by every ADD of a network that names no ranges. */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { type NodeRanges, readNodeRanges, writeNodeRanges } from '../ipam/node-ranges.ts';
import { parseJson, readText, replaceFile } from './atomic.ts';
import { doing } from './error.ts';

export const nodeRangesPath = (runDir: string): string => join(runDir, 'node.json');

/** The ranges that the agent wrote; undefined where it wrote none, or not whole. @throws StateError it cannot be read */
export function findNodeRanges(runDir: string): NodeRanges | undefined {
  const found = parseJson(readText(nodeRangesPath(runDir)));
  return found.kind === 'value' ? readNodeRanges(found.value) : undefined;
}

/** Leaves a file that says the same as it is. @returns whether it was written. @throws StateError */
export function keepNodeRanges(runDir: string, ranges: NodeRanges): boolean {
  const path = nodeRangesPath(runDir);
  const text = `${JSON.stringify(writeNodeRanges(ranges))}\n`;
  if (readText(path) === text) return false;
  replaceFile(path, text);
  return true;
}

/**
 * From now on the plugin gives out no address of them.
 * @returns what it named; undefined where it named none
 * @throws StateError
 */
export function forgetNodeRanges(runDir: string): NodeRanges | undefined {
  const found = findNodeRanges(runDir);
  const path = nodeRangesPath(runDir);
  if (found) doing('remove', path, () => rmSync(path));
  return found;
}
