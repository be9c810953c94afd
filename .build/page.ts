/** Pages for a browser: `lib/…/NAME-page/page.html` with its style sheet and script becomes one file without references. */
import { globSync, readFileSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { build } from 'esbuild';

const root = resolve(import.meta.dirname, '..');

/** Folders of pages, from the root of the tree. */
export const pageFolders = (): readonly string[] =>
  globSync('lib/**/*-page/page.html', { cwd: root })
    .map(file => dirname(file))
    .sort();

/** `lib/cli/policy/matrix-page` → `matrix`. */
export const pageName = (folder: string): string => basename(folder).replace(/-page$/, '');

/** The page's style sheet or script, bundled; no `</script>` or `</style>` ends its element. */
async function bundled(folder: string, file: string): Promise<string> {
  const { outputFiles } = await build({
    absWorkingDir: root,
    entryPoints: [join(folder, file)],
    bundle: true,
    write: false,
    preserveSymlinks: true,
    platform: 'browser',
    format: 'iife',
    target: 'es2024',
    minifySyntax: true,
    minifyWhitespace: true,
    lineLimit: 120,
    legalComments: 'none',
    logLevel: 'warning',
  });
  return outputFiles[0]!.text;
}

/**
 * The page with its fragments in the place of `<!-- include FILE PREFIX -->`. Ids of a fragment begin with the prefix there:
 * the page may have such ids of its own.
 */
function withFragments(folder: string, page: string): string {
  return page.replace(/<!-- include (\S+) (?:(\S+) )?-->/g, (_, file: string, prefix = '') =>
    readFileSync(join(root, folder, file), 'utf8')
      .trimEnd()
      .replace(/ (?:id|aria-describedby)="/g, `$&${prefix}`),
  );
}

/** @throws Error where page.html does not refer to its page.css and page.ts */
export async function buildPage(folder: string): Promise<string> {
  const parts = [
    ['<link rel="stylesheet" href="page.css">', `<style>${await bundled(folder, 'page.css')}</style>`],
    ['<script src="page.ts"></script>', `<script>${await bundled(folder, 'page.ts')}</script>`],
  ] as const;
  let page = withFragments(folder, readFileSync(join(root, folder, 'page.html'), 'utf8'));
  for (const [reference, text] of parts) {
    if (!page.includes(reference)) throw new Error(`Cannot build ${folder}/page.html: it has no ${reference}`);
    page = page.replace(reference, () => text);
  }
  return page;
}
