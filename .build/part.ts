import { getRawAsset } from 'node:sea';
import { Script } from 'node:vm';

/** What is around a part's code: Node's own wrapper of a CommonJS module. */
export const wrap = (code: string): string =>
  `(function (exports, require, module, __filename, __dirname) {${code}\n})`;

/** The script of a part; `cachedData` is taken where it fits this Node, and silently left where not. */
export const compile = (name: string, text: string, cachedData?: Uint8Array): Script =>
  new Script(text, { filename: `${name}.js`, ...(cachedData && { cachedData }) });

/** Bytes of an asset that are not its code cache's. */
const SLACK = 8;

/**
 * V8 makes a copy of a code cache that does not begin at a multiple of eight, and where an asset will lie nobody can say
 * beforehand. So there is room to move it in, and the asset's last byte says how far it has been moved.
 */
export function assetOf(cache: Uint8Array, moved = 0): Uint8Array {
  const asset = new Uint8Array(cache.length + SLACK);
  asset.set(cache, moved);
  asset[asset.length - 1] = moved;
  return asset;
}

export function cacheIn(asset: Uint8Array): Uint8Array {
  const moved = asset.at(-1)!;
  return asset.subarray(moved, moved + asset.length - SLACK);
}

/**
 * Loads a part of the executable, compiled beforehand to its last function. Node can make a code cache of its own
 * from a main script, but one without the functions that do not run at once: nearly all. To compile them takes a third of an ADD.
 */
export function load(name: string): unknown {
  const text = Buffer.from(getRawAsset(`${name}.js`)).toString('latin1');
  const script = compile(name, text, cacheIn(new Uint8Array(getRawAsset(`${name}.cache`))));
  const module = { exports: {} };
  script.runInThisContext()(module.exports, require, module, process.execPath, '/');
  return module.exports;
}
