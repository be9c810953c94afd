import { getRawAsset } from 'node:sea';
import { Script } from 'node:vm';

/** Wraps a part's code as Node wraps a CommonJS module. */
export const wrap = (code: string): string =>
  `(function (exports, require, module, __filename, __dirname) {${code}\n})`;

/** The script of a part; `cachedData` is taken where it fits this Node, and silently left where not. */
export const compile = (name: string, text: string, cachedData?: Uint8Array): Script =>
  new Script(text, { filename: `${name}.js`, ...(cachedData && { cachedData }) });

/**
 * Loads a part of the executable, compiled beforehand to its last function. Node can make a code cache of its own
 * from a main script, but one without the functions that do not run at once: nearly all. To compile them takes a third of an ADD.
 */
export function load(name: string): unknown {
  const text = Buffer.from(getRawAsset(`${name}.js`)).toString('latin1');
  const script = compile(name, text, new Uint8Array(getRawAsset(`${name}.cache`)));
  const module = { exports: {} };
  script.runInThisContext()(module.exports, require, module, process.execPath, '/');
  return module.exports;
}
