/** What the documents in the tree name is there: each file, each script of npm, each word of the code. */
import assert from 'node:assert/strict';
import { existsSync, globSync, readFileSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { test } from 'node:test';
import manifest from '../../package.json' with { type: 'json' };

const root = resolve(import.meta.dirname, '../..');
const textOf = (file: string): string => readFileSync(join(root, file), 'utf8');
const sources = globSync('{lib,cmd,test,.build,conf}/**/*.{ts,cjs,mjs,c,h,sh,css,html,json,txt,yaml}', { cwd: root });
const names = new Set(sources.map(file => basename(file)));
const code = sources.filter(file => /^(lib|cmd|\.build)\/.*\.([cm]?[tj]s|[ch])$/.test(file)).map(textOf);
const words = new Set(code.flatMap(text => text.match(/\w+/g) ?? []));

/** Paths below folders of the tree, wherever they stand; a path may end in a sentence's full stop. */
const paths = (text: string): string[] =>
  text.match(/(?<![\w./$-])(?:lib|cmd|test|conf|\.build)\/[\w./-]*\w/g)?.filter(path => !path.includes('...')) ?? [];
const quoted = (text: string): string[] => [...text.matchAll(/`([^`\n]+)`/g)].map(([, inside]) => inside!);
const isFileName = (inside: string): boolean =>
  /^[\w-]+(\.[\w-]+)*\.(ts|cjs|mjs|c|h|sh|css|html|json|txt)$/.test(inside);
/** `carryOut`, `Reconciler`, `IFLA_GROUP`; words that are no more than English are found in the code as well. */
const isSymbol = (inside: string): boolean => /^[A-Za-z_]\w*$/.test(inside);

for (const document of ['ARCHITECTURE.md', 'CONTRIBUTING.md', 'lib/GLOSSARY.md'])
  test(`${document} names no file and no symbol that is not there`, () => {
    const text = textOf(document);
    const absent = [
      ...paths(text).filter(path => !existsSync(join(root, path))),
      ...quoted(text).filter(inside => isFileName(inside) && !names.has(inside) && !existsSync(join(root, inside))),
      ...quoted(text).filter(inside => isSymbol(inside) && !words.has(inside)),
      ...[...text.matchAll(/\bnpm run ([\w:]+)/g)]
        .map(([, script]) => script!)
        .filter(script => !(script in manifest.scripts)),
    ];
    assert.deepEqual([...new Set(absent)], []);
  });
