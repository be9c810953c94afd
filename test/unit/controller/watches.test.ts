/** The API listener's supervision: what fails is tried again and shows in health, and the rest goes on. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { type HealthProblem, isUnhealthy, problemsOf, wantsRestart } from '../../../lib/controller/health.ts';
import { type AgentView, agentRoutes } from '../../../lib/controller/http-routes.ts';
import { longestSilence, type Sinks, Watches, type WatchStatus } from '../../../lib/controller/watches.ts';
import { createIntern } from '../../../lib/kube/intern.ts';
import { nodeObject, podObject, Room } from '../../support/kube-world.ts';
import { PATIENCE, until } from '../../support/until.ts';

const silent = (): void => undefined;
const noSinks: Sinks = { pods: silent, namespaces: silent, policies: silent, clusterPolicies: silent, nodes: silent };

/** Listeners on a fake server, with time that stands still. */
async function listening(sinks: Partial<Sinks> = {}) {
  const room = await Room.open();
  room.api.put('pods', podObject('web'));
  room.api.put('nodes', nodeObject('n1'));
  const listeners = new Watches(room.client, { ...noSinks, ...sinks });
  const stop = new AbortController();
  const lost: string[] = [];
  let newsCount = 0;
  const ended = listeners.listen(
    {
      signal: stop.signal,
      intern: createIntern(),
      report: silent,
      lost: (resource, { reason, message }) => lost.push(`${resource} ${reason}: ${message}`),
    },
    () => newsCount++,
  );
  const of = (resource: string): WatchStatus => listeners.statuses.find(hearing => hearing.resource === resource)!;
  return {
    ...{ room, listeners, lost, of },
    problems: (): readonly HealthProblem[] => listeners.statuses.flatMap(problemsOf),
    async [Symbol.asyncDispose]() {
      stop.abort();
      await ended;
      await room[Symbol.asyncDispose]();
    },
  };
}

/** Lets the clock go on until it holds, a quarter of a second each five milliseconds: requests take real time. */
async function passing(room: Room, what: string, holds: () => boolean): Promise<void> {
  for (const end = performance.now() + PATIENCE; !holds(); await delay(5)) {
    if (performance.now() > end) throw new Error(`Cannot wait longer for ${what}`);
    room.clock.advance(250);
  }
}

test('a fault of ours in one object: the others are heard, it is told and seen, and tried again until it succeeds', async () => {
  let isBroken = true;
  const heard: string[] = [];
  await using it = await listening({
    pods({ after }) {
      if (isBroken && after?.name === 'web') throw new TypeError('boom');
      heard.push(after?.name ?? 'gone');
    },
  });
  const { room, listeners, lost, problems } = it;
  await until('the fault to be told', () => lost.length > 0);
  assert.match(lost[0]!, /^pods Fault: Cannot take in pods: Fault: boom$/);
  room.api.put('pods', podObject('db'));
  await passing(room, 'another pod to be heard', () => heard.includes('db'));
  assert.equal(listeners.isComplete, false, 'nothing is served by half a world');
  assert.match(problems()[0]?.message ?? '', /pods could not take in an object: boom/);
  assert.ok(problems().some(isUnhealthy) && !problems().some(wantsRestart));
  isBroken = false;
  await passing(room, 'all to be heard', () => listeners.isComplete && problems().length === 0);
  assert.ok(heard.includes('web'));
});

test('a fault in the reading of an object ends no listener: it is told, and listed again', async () => {
  await using it = await listening();
  const { room, lost, of } = it;
  await until('the watch', () => of('nodes').isUp);
  await room.api.watched('nodes');
  const { nodes } = await import('../../../lib/kube/object.ts');
  const { read } = nodes;
  try {
    Object.assign(nodes, {
      read: () => {
        throw new RangeError('deep');
      },
    });
    room.api.put('nodes', nodeObject('n2'));
    await until('the fault to be told', () => lost.some(line => line.startsWith('nodes Fault')));
  } finally {
    Object.assign(nodes, { read });
  }
  await passing(room, 'both nodes', () => of('nodes').objects === 2 && of('nodes').isUp);
});

test('a watch that has not heard for longer than its time-out fails health and readiness, and is no reason for a restart', async () => {
  await using it = await listening();
  const { room, listeners, problems, of } = it;
  await until('all watches', () => listeners.statuses.every(({ isUp }) => isUp));
  assert.ok(of('clusternetworkpolicies').isAbsent, 'what the server does not know is no trouble');
  assert.deepEqual(problems(), []);
  room.api.refuseAll(true);
  for (const name of ['pods', 'namespaces', 'networkpolicies', 'nodes']) room.api.end(name, 'reset');
  await passing(room, 'the silence to be too long', () => problems().length === listeners.statuses.length);
  assert.ok((of('pods').age ?? 0) > longestSilence);
  assert.match(problems()[0]!.message, /^the watch of pods has heard nothing for \d+ s: .*503/);
  assert.ok(problems().every(isUnhealthy) && !problems().some(wantsRestart));
  room.api.refuseAll(false);
  await passing(room, 'health', () => problems().length === 0);
});

test('a list that never ends is no sign of life', async () => {
  await using room = await Room.open();
  const isList = ({ path }: { path: string }): boolean => path === '/api/v1/pods';
  let version = 0;
  const page = (): void =>
    room.api.next(isList, response => {
      page();
      room.clock.advance(10_000);
      response.end(
        JSON.stringify({ metadata: { resourceVersion: `${++version}`, continue: 'more' }, items: [podObject('web')] }),
      );
    });
  page();
  const listeners = new Watches(room.client, noSinks);
  const stop = new AbortController();
  const ended = listeners.listen({ signal: stop.signal, intern: createIntern(), report: silent, lost: silent }, silent);
  await until('it to be overdue', () =>
    listeners.statuses.some(({ resource, isOverdue }) => resource === 'pods' && isOverdue),
  );
  stop.abort();
  await ended;
});

const hearing: WatchStatus = {
  ...{ resource: 'pods', isUp: true, isComplete: true, objects: 1, age: 1, losses: 0 },
  ...{ isOverdue: false, isStuck: false },
};
const of = (part: HealthProblem['part'], isStuck = false): HealthProblem => ({
  part,
  isStuck,
  message: `${part} fails`,
});

for (const [what, health, healthy, alive] of [
  ['nothing', [], 200, 200],
  ['a gate that cannot be brought up to date', [of('gate')], 503, 503],
  ['a node whose routes fail', [of('node')], 200, 200],
  ['a run at the routes that does not end', [of('node', true)], 200, 200],
  ['a watch that is overdue', problemsOf({ ...hearing, isOverdue: true }), 503, 200],
  ['a watch that stands still', problemsOf({ ...hearing, isOverdue: true, isStuck: true }), 503, 503],
  ['an object that could not be taken in', problemsOf({ ...hearing, fault: 'boom' }), 503, 200],
] as const)
  test(`health with ${what}: ${healthy}, alive: ${alive}`, async () => {
    const pages = agentRoutes({ health } as unknown as AgentView).metrics;
    const statusOf = async (path: string) => (await pages[path]!()).status ?? 200;
    assert.deepEqual([await statusOf('GET /healthz'), await statusOf('GET /livez')], [healthy, alive]);
  });
