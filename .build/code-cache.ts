/**
 * Writes the V8 code cache of one script, with all of its functions compiled.
 *
 * Usage: node --random-seed=1 V8-FLAGS… code-cache.ts NAME SCRIPT CACHE
 * Two runs on the same script write the same bytes, which takes a process for each script: V8 hashes strings with a seed,
 * hence `--random-seed` (it is not among the flags that a cache is bound to), and leaves whatever the heap held before in the
 * padding of objects, hence a heap that has compiled nothing else.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { setFlagsFromString } from 'node:v8';
import { compile } from './part.ts';

const [name, script, cache] = process.argv.slice(2);
if (!name || !script || !cache) throw new Error('Usage: node code-cache.ts NAME SCRIPT CACHE');
setFlagsFromString('--no-lazy');
const compiled = compile(name, readFileSync(script, 'latin1'));
// V8 takes a cache only under the flags that it was made with.
setFlagsFromString('--lazy');
writeFileSync(cache, compiled.createCachedData());
