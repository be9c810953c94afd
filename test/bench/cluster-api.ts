/**
 * An API server that lists a whole cluster from memory, as from a watch cache, and lets things happen to it when it is told
 * to: in a process of its own, so that what the agent takes is the agent's.
 *
 *   node cluster-api.ts PORT SIZE     prints `ready`; reads lines `pods N` and `namespace N`, and prints `done` after each
 */
import http, { type ServerResponse } from 'node:http';
import { createInterface } from 'node:readline';
import { setTimeout as after } from 'node:timers/promises';
import type { ApiObject } from '../support/fake-api.ts';
import { crowd, type Listed, namespace, objects, ownPods, pod, sizes, welcomeTeam } from './cluster.ts';

const paths: Readonly<Record<string, Listed>> = {
  '/api/v1/pods': 'pods',
  '/api/v1/namespaces': 'namespaces',
  '/api/v1/nodes': 'nodes',
  '/apis/networking.k8s.io/v1/networkpolicies': 'networkpolicies',
};

const [port, sizeName] = process.argv.slice(2);
const size = sizes[sizeName as keyof typeof sizes];

/** A list's body in pieces, so that sending it costs next to nothing. */
function bodyOf(kind: Listed): readonly Buffer[] {
  const pieces: Buffer[] = [
    Buffer.from('{"kind":"List","apiVersion":"v1","metadata":{"resourceVersion":"1"},"items":['),
  ];
  let text: string[] = [];
  const flush = (): void => {
    if (text.length > 0) pieces.push(Buffer.from(`${pieces.length > 1 ? ',' : ''}${text.join(',')}`));
    text = [];
  };
  for (const object of objects(kind, size)) if (text.push(JSON.stringify(object)) === 20) flush();
  flush();
  return [...pieces, Buffer.from(']}')];
}

const bodies = new Map(Object.values(paths).map(kind => [kind, bodyOf(kind)]));
const watchers = new Map<Listed, Set<ServerResponse>>();
let version = 1;

async function send(response: ServerResponse, pieces: readonly Buffer[]): Promise<void> {
  for (const piece of pieces)
    if (!response.write(piece)) await new Promise<void>(resolve => void response.once('drain', resolve));
  response.end();
}

function tell(kind: Listed, object: ApiObject): void {
  const metadata = { ...object.metadata, resourceVersion: String(++version) };
  const line = `${JSON.stringify({ type: 'MODIFIED', object: { ...object, metadata } })}\n`;
  for (const response of watchers.get(kind) ?? []) response.write(line);
}

/** Pods elsewhere, each in the namespace of one that runs here, whose policy asks for the label that comes and goes. */
async function pods(number: number): Promise<void> {
  for (let n = 0; n < number; n++) {
    const i = size.namespaces * 20 + (n % ownPods);
    const { metadata, ...rest } = pod(i, size);
    const labels = { ...(metadata['labels'] as object), app: version % 2 === 0 ? 'app-1' : 'other' };
    tell('pods', { ...rest, metadata: { ...metadata, labels } });
    await after(25);
  }
}

/** A namespace of a thousand pods comes into the team that the policies here let in, and leaves it. */
async function namespaces(number: number): Promise<void> {
  for (let n = 0; n < number; n++) {
    tell('namespaces', namespace(crowd.name, n % 2 === 0 ? welcomeTeam : 'team-none'));
    await after(150);
  }
}

const server = http.createServer((request, response) => {
  const url = new URL(request.url ?? '/', 'http://server');
  const kind = paths[url.pathname];
  response.setHeader('content-type', 'application/json');
  if (url.pathname === '/apis') {
    response.end(JSON.stringify({ kind: 'APIGroupList', groups: [] }));
    return;
  }
  if (!kind) {
    const index = Number(/own-(\d+)$/.exec(url.pathname)?.[1] ?? Number.NaN);
    const found = Number.isNaN(index) ? undefined : pod(index, size);
    response
      .writeHead(found ? 200 : 404)
      .end(JSON.stringify(found ?? { kind: 'Status', code: 404, reason: 'NotFound' }));
    return;
  }
  if (url.searchParams.get('watch') === null) {
    void send(response, bodies.get(kind)!);
    return;
  }
  const listening = watchers.get(kind) ?? new Set();
  watchers.set(kind, listening.add(response));
  response.on('close', () => listening.delete(response));
  response.flushHeaders();
});

server.listen(Number(port), '127.0.0.1', () => console.log('ready'));
for await (const line of createInterface({ input: process.stdin })) {
  const [what, number] = line.split(' ');
  await (what === 'pods' ? pods : namespaces)(Number(number));
  console.log('done');
}
process.exit();
