/** HTTP routes of a flow recorder: lists, sums, and a stream of flows from now on. */

import type { StagedCounts } from '../flows/counts.ts';
import { asksForAddresses, type Filter, FilterError, parseFilter } from '../flows/filter.ts';
import type { FlowPage } from '../flows/journal.ts';
import type { SummedFlows } from '../flows/minutes.ts';
import { OTHERS } from '../flows/model.ts';
import { policyReport } from '../flows/policy-report.ts';
import { graphOf, hintsOf, type SumKind, sumBy, sumKinds } from '../flows/sums.ts';
import { parseTraffic } from '../policy/evaluate/matrix-judge.ts';
import { accountingState } from './flow-accounting.ts';
import { explained } from './flow-explain.ts';
import type { FlowRecorder } from './flow-recorder.ts';
import { BadRequest, type HttpResponse, type HttpStream, type Outlet, type QueryRoutes } from './http-server.ts';

/** Milliseconds between two messages of a live page, and entries in one. */
const LIVE = 200;
const MOST_LIVE = 500;
/** Messages without news, so that both ends notice when the other has gone. In milliseconds. */
const HEARTBEAT = 10_000;
const MOST_LISTED = 100_000;
const LISTED = 100;

const json = (value: unknown): HttpResponse => ({ type: 'application/json', text: `${JSON.stringify(value)}\n` });

function filterIn(query: URLSearchParams): Filter {
  try {
    return parseFilter(query.get('filter') ?? '');
  } catch (error) {
    if (error instanceof FilterError) throw new BadRequest(error.message);
    throw error;
  }
}

/** @throws BadRequest where it is no number from 0 on */
function numberIn(query: URLSearchParams, name: string, fallback: number): number {
  const text = query.get(name);
  const number = text === null ? fallback : Number(text);
  if (text !== '' && Number.isFinite(number) && number >= 0) return number;
  throw new BadRequest(`Cannot use ${JSON.stringify(text)} as ${name}: give a number`);
}

/** Sums know no addresses. */
function sumFilterIn(query: URLSearchParams): Filter {
  if (asksForAddresses(query.get('filter') ?? ''))
    throw new BadRequest('Cannot sum up by address: sums know pods and namespaces alone; leave out ip:, or list flows');
  return filterIn(query);
}

function sumKindIn(query: URLSearchParams): SumKind {
  const asked = query.get('by') ?? 'pod';
  const kind = sumKinds.find(each => each === asked);
  if (!kind) throw new BadRequest(`Cannot sum up by ${JSON.stringify(asked)}: give ${sumKinds.join(', ')}`);
  return kind;
}

/** Readers of what is live at once; the oldest gives way to one more. */
const MOST_READERS = 16;

/** Characters of one message: a flow may have hundreds of labels and dozens of policies. */
const MOST_TEXT = 256 * 1024;

/** The newest entries that fit; those that do not are skipped. */
function liveMessage({ entries, skipped }: FlowPage): string {
  const texts: string[] = [];
  let length = 0;
  for (const entry of entries.toReversed()) {
    const text = JSON.stringify(entry);
    length += text.length + 1;
    if (length > MOST_TEXT) break;
    texts.unshift(text);
  }
  return `data: {"entries":[${texts.join(',')}],"skipped":${skipped + entries.length - texts.length}}\n\n`;
}

/** Writes what is new, and no more than is read: what is left out meanwhile is counted, and told with the next message. */
function beginLive(recorder: FlowRecorder, filter: Filter, outlet: Outlet): Disposable {
  let { cursor } = recorder.journal;
  let last = Date.now();
  const tell = (): void => {
    if (outlet.isFull()) return;
    const page = recorder.journal.read(cursor, { filter, most: MOST_LIVE });
    cursor = page.cursor;
    const isNews = page.entries.length > 0 || page.skipped > 0;
    if (!isNews && Date.now() - last < HEARTBEAT) return;
    last = Date.now();
    outlet.write(liveMessage(page));
  };
  // The reader knows that it is heard.
  outlet.write(liveMessage({ entries: [], skipped: 0, cursor }));
  const timer = setInterval(tell, LIVE).unref();
  const { readers } = recorder;
  readers.add(outlet);
  const [oldest] = readers;
  if (oldest && readers.size > MOST_READERS) {
    // Taken out now: the reader goes only later, and many more may have come by then.
    readers.delete(oldest);
    oldest.end();
  }
  return {
    [Symbol.dispose]() {
      clearInterval(timer);
      readers.delete(outlet);
    },
  };
}

const summedIn = ({ journal }: FlowRecorder, query: URLSearchParams): readonly SummedFlows[] =>
  journal.minutes.summed(numberIn(query, 'since', 0));

/** Status of the recorder itself. */
export function recorderStatus({ journal, attribution, since, deaf }: FlowRecorder) {
  const { allowed, denied, summedPackets, lostEvents } = journal.totals;
  return {
    ...{
      since,
      sumsSince: journal.minutes.since ?? null,
      kept: journal.size,
      open: journal.open,
      bytes: journal.bytes,
    },
    ...{ allowed, denied, summedPackets, lostEvents, unattributed: attribution.unanswered },
    conntrack: accountingState(),
    problems: deaf === undefined ? [] : [`denied flows are not recorded: ${deaf}`],
  };
}

function stagedCounts({ journal, attribution, since }: FlowRecorder): StagedCounts {
  const { staged } = journal.totals;
  const named = [...staged].filter(([policy]) => policy !== OTHERS);
  const { unanswered: unattributed } = attribution;
  return { since, unattributed, policies: Object.fromEntries(named), isCut: staged.has(OTHERS) };
}

type Answer = (
  recorder: FlowRecorder,
  query: URLSearchParams,
) => HttpResponse | HttpStream | Promise<HttpResponse | HttpStream>;

const answers: Readonly<Record<string, Answer>> = {
  'GET /flows': async (recorder, query) => {
    const filter = filterIn(query);
    const last = Math.min(numberIn(query, 'last', LISTED), MOST_LISTED);
    const since = numberIn(query, 'since', 0);
    if (query.has('counted')) await recorder.counted();
    const entries = recorder.journal.list({ filter, since, last });
    return { type: 'application/jsonl', text: entries.map(entry => `${JSON.stringify(entry)}\n`).join('') };
  },
  'GET /flows/live': (recorder, query) => {
    const filter = filterIn(query);
    return { type: 'text/event-stream', begin: outlet => beginLive(recorder, filter, outlet) };
  },
  'GET /flows/sum': (recorder, query) => json(sumBy(sumKindIn(query), summedIn(recorder, query), sumFilterIn(query))),
  'GET /flows/graph': (recorder, query) =>
    json(graphOf(summedIn(recorder, query), sumFilterIn(query), query.has('collapsed'))),
  'GET /flows/hints': (recorder, query) => json(hintsOf(summedIn(recorder, query))),
  'GET /flows/policies': (recorder, query) => {
    const { scene, attribution, since } = recorder;
    const { rulesUsed, unanswered } = attribution;
    return json(policyReport({ scene, rulesUsed, unanswered }, summedIn(recorder, query), since));
  },
  'GET /flows/staged': recorder => json(stagedCounts(recorder)),
  'GET /flows/explain': async (recorder, query) => json(await explained(recorder, numberIn(query, 'id', -1))),
  'GET /flows/matrix': async ({ matrix }, query) => {
    const text = query.get('port') ?? '';
    const traffic = parseTraffic(text);
    if (!traffic) throw new BadRequest(`Cannot use ${JSON.stringify(text)} as port: give one as in 80/TCP`);
    // A filter that means nothing is told as such.
    filterIn(query);
    const filter = query.get('filter') ?? '';
    return { type: 'application/json', text: await matrix.textOf({ traffic, filter }, numberIn(query, 'known', 0)) };
  },
  'GET /flows/status': recorder => json(recorderStatus(recorder)),
};

/** @param recorder undefined for as long as it has not begun */
export const flowRoutes = (recorder: () => FlowRecorder | undefined): QueryRoutes =>
  Object.fromEntries(
    Object.entries(answers).map(([path, answer]) => [
      path,
      query => {
        const begun = recorder();
        if (begun) return answer(begun, query);
        return { status: 503, type: 'text/plain', text: 'flows are not recorded before pods and policies are known\n' };
      },
    ]),
  ) satisfies QueryRoutes;
