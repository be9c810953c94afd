/** Pages for a browser, which `.build/page.ts` makes of `*-page` folders and the executable carries along. */
import { getAsset } from 'node:sea';

/** @throws Error where this is not the built executable */
export const readPage = (name: 'matrix' | 'flows'): string => getAsset(`pages/${name}.html`, 'utf8');

const place = '<script type="application/json" id="data">null</script>';

/** The page with its data as JSON, in which no parser of HTML sees the end of its element. */
export const withData = (page: string, data: unknown): string =>
  page.replace(place, () => place.replace('null', () => JSON.stringify(data).replaceAll('<', '\\u003c')));
