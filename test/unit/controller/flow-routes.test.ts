/** Queries that routes of flows refuse, by name. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { FlowRecorder } from '../../../lib/controller/flow-recorder.ts';
import { flowRoutes } from '../../../lib/controller/flow-routes.ts';

const routes = flowRoutes(() => ({ since: 1 }) as FlowRecorder);
const ask = async (path: string, query: string) => await routes[`GET ${path}`]!(new URLSearchParams(query));

const refused: readonly (readonly [path: string, query: string, said: RegExp])[] = [
  ['/flows', 'filtr=ns:shop', /^Cannot use "filtr" in this query: it reads filter, since, last, counted$/],
  ['/flows/live', 'limit=3&filter=', /^Cannot use "limit" in this query: it reads filter/],
  ['/flows/sum', 'by=pod&group=ns&group=pod&top=3', /^Cannot use "group", "top" in this query: it reads by, filter/],
  ['/flows/status', 'verbose', /^Cannot use "verbose" in this query: it reads none$/],
  ['/flows/explain', '', /^Cannot explain a flow that is not named: give its id$/],
  ['/flows/explain', 'id=x', /^Cannot use "x" as id: give a number$/],
];
for (const [path, query, said] of refused)
  test(`${path}?${query}`, async () => {
    await assert.rejects(ask(path, query), { name: 'BadRequest', message: said });
  });

test('what is asked before flows are recorded is refused for the same reasons', () => {
  const early = flowRoutes(() => undefined)['GET /flows']!;
  assert.throws(() => early(new URLSearchParams('filtr=')), { name: 'BadRequest' });
});
