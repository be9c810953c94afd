/** HTTP routes of a flow recorder: lists, sums, and a stream of flows from now on. */

import type { StagedCounts } from '../flows/counts.ts';
import { asksForAddresses, type Filter, FilterError, parseFilter } from '../flows/filter.ts';
import type { ListQuery } from '../flows/listing.ts';
import type { SummedFlows } from '../flows/minutes.ts';
import { OTHERS } from '../flows/model.ts';
import { policyReport } from '../flows/policy-report.ts';
import { graphOf, hintsOf, type SumKind, sumBy, sumKinds } from '../flows/sums.ts';
import { parseTraffic } from '../policy/evaluate/matrix-judge.ts';
import { accountingState } from './flow-accounting.ts';
import { explained } from './flow-explain.ts';
import { listStream, liveStream } from './flow-readers.ts';
import type { FlowRecorder } from './flow-recorder.ts';
import { BadRequest, type HttpResponse, type HttpStream, json, type QueryRoutes, reading } from './http-server.ts';

const MOST_LISTED = 100_000;
const LISTED = 100;

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

function listIn(query: URLSearchParams): ListQuery {
  const last = Math.min(numberIn(query, 'last', LISTED), MOST_LISTED);
  return { filter: filterIn(query), since: numberIn(query, 'since', 0), last };
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

/** Keys of the query that each reads. */
const keysOf = {
  'GET /flows': ['filter', 'since', 'last', 'counted'],
  'GET /flows/live': ['filter', 'since', 'last', 'counted'],
  'GET /flows/sum': ['by', 'filter', 'since'],
  'GET /flows/graph': ['filter', 'since', 'collapsed'],
  'GET /flows/hints': ['since'],
  'GET /flows/policies': ['since'],
  'GET /flows/staged': [],
  'GET /flows/explain': ['id', 'record'],
  'GET /flows/matrix': ['port', 'filter', 'known'],
  'GET /flows/status': [],
} as const satisfies Readonly<Record<string, readonly string[]>>;

const answers: Readonly<Record<keyof typeof keysOf, Answer>> = {
  'GET /flows': async (recorder, query) => {
    const asked = listIn(query);
    if (query.has('counted')) await recorder.counted();
    return listStream(recorder, asked);
  },
  'GET /flows/live': async (recorder, query) => {
    const past = query.has('since') || query.has('last') ? listIn(query) : undefined;
    const filter = filterIn(query);
    if (past && query.has('counted')) await recorder.counted();
    return liveStream(recorder, filter, past);
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
  'GET /flows/explain': async (recorder, query) => {
    // Another record counts from 0 again.
    if (numberIn(query, 'record', recorder.since) !== recorder.since)
      throw new BadRequest('Cannot explain this flow: it was recorded before the agent began anew');
    if (!query.has('id')) throw new BadRequest('Cannot explain a flow that is not named: give its id');
    return json(await explained(recorder, numberIn(query, 'id', 0)));
  },
  'GET /flows/matrix': async ({ matrix }, query) => {
    const text = query.get('port') ?? '';
    const traffic = parseTraffic(text);
    if (!traffic) throw new BadRequest(`Cannot use ${JSON.stringify(text)} as port: give one as in 80/TCP, or icmp`);
    // A filter that means nothing is told as such.
    filterIn(query);
    const filter = query.get('filter') ?? '';
    return { type: 'application/json', text: await matrix.textOf({ traffic, filter }, numberIn(query, 'known', 0)) };
  },
  'GET /flows/status': recorder => json(recorderStatus(recorder)),
};

const notYet = 'the agent begins to record flows: it waits until pods and policies are known';

/**
 * @param recorder undefined for as long as it has not begun
 * @param trouble why it never will; undefined where nothing keeps it from that
 */
export const flowRoutes = (
  recorder: () => FlowRecorder | undefined,
  trouble: () => string | undefined = () => undefined,
): QueryRoutes =>
  Object.fromEntries(
    Object.entries(answers).map(([path, answer]) => [
      path,
      reading(keysOf[path as keyof typeof keysOf], query => {
        const begun = recorder();
        if (begun) return answer(begun, query);
        const never = trouble();
        return { status: never === undefined ? 503 : 500, type: 'text/plain', text: `${never ?? notYet}\n` };
      }),
    ]),
  ) satisfies QueryRoutes;
