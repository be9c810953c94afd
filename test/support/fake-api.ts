/**
 * An API server for what a real one cannot be made to do on demand. It keeps objects and versions, lists (in pages, or
 * whole as from a watch cache), watches, and forgets versions; what it should do otherwise than well a test tells it.
 * Cluster tests prove the agent on a real API server.
 */
import assert from 'node:assert/strict';
import http, { type IncomingMessage, type ServerResponse } from 'node:http';
import https from 'node:https';
import type { AddressInfo } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { gzipSync } from 'node:zlib';

export interface ApiObject {
  readonly metadata: { readonly name: string; readonly namespace?: string; readonly [key: string]: unknown };
  readonly [key: string]: unknown;
}

/** A request, as it came. */
export interface Seen {
  readonly method: string;
  readonly path: string;
  readonly query: Readonly<Record<string, string>>;
  readonly headers: http.IncomingHttpHeaders;
  readonly body: string;
  /** The client's port: the same one is the same connection. */
  readonly port: number;
  /** Common name of the client's certificate. */
  readonly commonName: string | undefined;
}

/** Answers a request instead of the server. */
export type Instead = (response: ServerResponse, seen: Seen) => void;

export interface FakeApiOptions {
  readonly tls?: https.ServerOptions;
  /** Behaves as a server without a watch cache: lists of version 0 come in pages, too. */
  readonly alwaysPages?: boolean;
  /** Behaves as a server that knows no field selectors. */
  readonly ignoresSelectors?: boolean;
  /** Calls `listen` in another network namespace, for example; the server listens on all addresses then. */
  readonly inside?: (listen: () => void) => void;
  /** Whether the Authorization header will do. */
  readonly accepts?: (authorization: string | undefined) => boolean;
}

const listKinds: Readonly<Record<string, readonly [path: string, kind: string]>> = {
  pods: ['/api/v1/pods', 'Pod'],
  namespaces: ['/api/v1/namespaces', 'Namespace'],
  networkpolicies: ['/apis/networking.k8s.io/v1/networkpolicies', 'NetworkPolicy'],
  nodes: ['/api/v1/nodes', 'Node'],
  'clusternetworkpolicies of v1beta1': [
    '/apis/policy.networking.k8s.io/v1beta1/clusternetworkpolicies',
    'ClusterNetworkPolicy',
  ],
  clusternetworkpolicies: ['/apis/policy.networking.k8s.io/v1alpha2/clusternetworkpolicies', 'ClusterNetworkPolicy'],
  adminnetworkpolicies: ['/apis/policy.networking.k8s.io/v1alpha1/adminnetworkpolicies', 'AdminNetworkPolicy'],
  baselineadminnetworkpolicies: [
    '/apis/policy.networking.k8s.io/v1alpha1/baselineadminnetworkpolicies',
    'BaselineAdminNetworkPolicy',
  ],
  customresourcedefinitions: ['/apis/apiextensions.k8s.io/v1/customresourcedefinitions', 'CustomResourceDefinition'],
};

/** `/apis/group/version/resource` → `group/version`. */
const groupVersionOf = (path: string): string => path.split('/').slice(2, 4).join('/');
/** `/apis/group/version/namespaces/name/resource` → `/apis/group/version/resource`, and the name. */
function withoutNamespace(path: string): { readonly path: string; readonly namespace?: string } {
  const [, before, namespace, resource] = /^(\/apis\/[^/]+\/[^/]+)\/namespaces\/([^/]+)\/([^/]+)$/.exec(path) ?? [];
  return namespace === undefined ? { path } : { path: `${before}/${resource}`, namespace };
}
const isCustom = (path: string): boolean => path.includes('policy.networking.k8s.io');

interface Change {
  readonly version: number;
  readonly resource: string;
  readonly before: ApiObject | undefined;
  readonly after: ApiObject | undefined;
}

interface Watcher {
  readonly resource: string;
  readonly selector: string | undefined;
  readonly response: ServerResponse;
}

const keyOf = ({ metadata }: ApiObject): string => `${metadata.namespace ?? ''}/${metadata.name}`;

const phaseOf = ({ status }: ApiObject): unknown =>
  typeof status === 'object' && status !== null && 'phase' in status ? status.phase : undefined;

/** `status.phase!=Failed,…` or `metadata.name=…`: the only fields that anybody here selects by. */
function isSelected(object: ApiObject | undefined, selector: string | undefined): object is ApiObject {
  if (!object) return false;
  const holds = (term: string): boolean =>
    term.startsWith('metadata.name=')
      ? term === `metadata.name=${object.metadata.name}`
      : term !== `status.phase!=${String(phaseOf(object))}`;
  return (selector ?? '').split(',').every(term => term === '' || holds(term));
}

export const statusOf = (code: number, reason: string, message = reason, details?: unknown) => ({
  kind: 'Status',
  apiVersion: 'v1',
  status: 'Failure',
  code,
  reason,
  message,
  ...(details === undefined ? {} : { details }),
});

export function refuse(response: ServerResponse, status: ReturnType<typeof statusOf>, headers = {}): void {
  response.writeHead(status.code, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(status));
}

export class FakeApi implements AsyncDisposable {
  readonly requests: Seen[] = [];
  readonly #server: http.Server;
  readonly #options: FakeApiOptions;
  readonly #objects = new Map<string, Map<string, ApiObject>>(Object.keys(listKinds).map(name => [name, new Map()]));
  readonly #history: Change[] = [];
  readonly #snapshots = new Map<string, readonly ApiObject[]>();
  readonly #watchers = new Set<Watcher>();
  readonly #instead: { readonly matches: (seen: Seen) => boolean; readonly answer: Instead }[] = [];
  readonly #silent = new Set<string>();
  /** Custom resources that are known here. */
  readonly #installed = new Set<string>();
  #isAway = false;
  #version = 100;
  #oldest = 0;
  #changed = Promise.withResolvers<void>();

  private constructor(options: FakeApiOptions) {
    this.#options = options;
    const handle = (request: IncomingMessage, response: ServerResponse) => void this.#handle(request, response);
    this.#server = options.tls ? https.createServer(options.tls, handle) : http.createServer(handle);
  }

  static async start(options: FakeApiOptions = {}): Promise<FakeApi> {
    const api = new FakeApi(options);
    const { promise, resolve } = Promise.withResolvers<void>();
    // Without an address it listens at once, and not when a name has been looked up.
    if (options.inside) options.inside(() => api.#server.listen(0, resolve));
    else api.#server.listen(0, '127.0.0.1', resolve);
    await promise;
    return api;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  get url(): string {
    return `${this.#options.tls ? 'https' : 'http'}://127.0.0.1:${this.port}`;
  }

  get version(): string {
    return String(this.#version);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#server.close(() => resolve());
    this.#server.closeAllConnections();
    await promise;
  }

  /** Creates or replaces the object, and tells who watches. */
  put(resource: string, object: ApiObject): void {
    this.#change(resource, this.#all(resource).get(keyOf(object)), object);
  }

  remove(resource: string, name: string, namespace = ''): void {
    const before = this.#all(resource).get(`${namespace}/${name}`);
    assert.ok(before, `no ${resource} ${namespace}/${name} to remove`);
    this.#change(resource, before, undefined);
  }

  /** The resource's CustomResourceDefinition comes. */
  install(resource: string): void {
    this.#installed.add(resource);
    this.define(resource);
  }

  /** Adds the definition alone: the resource is served in no version that is asked for. */
  define(resource: string): void {
    this.put('customresourcedefinitions', { metadata: { name: `${resource.split(' ')[0]}.policy.networking.k8s.io` } });
  }

  /** Takes the resource away, with all its objects and watches. */
  uninstall(resource: string): void {
    for (const { metadata } of [...this.#all(resource).values()])
      this.remove(resource, metadata.name, metadata.namespace);
    this.#installed.delete(resource);
    this.end(resource);
  }

  /** From now on watches are not told of changes; lists are. */
  silence(resource: string): void {
    this.#silent.add(resource);
  }

  /** Ends the silence: watches are told of what they missed when they ask again. */
  speak(resource: string): void {
    this.#silent.delete(resource);
    this.end(resource);
  }

  /** Whether every request is answered with 503. */
  refuseAll(isAway: boolean): void {
    this.#isAway = isAway;
  }

  /** Forgets all versions before now: watches and lists that go on from one fail. */
  compact(): void {
    this.#oldest = this.#version;
    this.#snapshots.clear();
  }

  bookmark(resource: string): void {
    const object = { kind: listKinds[resource]![1], apiVersion: 'v1', metadata: { resourceVersion: this.version } };
    this.write(resource, `${JSON.stringify({ type: 'BOOKMARK', object })}\n`);
  }

  /** Writes these bytes to all watches of the resource. */
  write(resource: string, text: string | Buffer): void {
    for (const { response } of this.#watching(resource)) response.write(text);
  }

  /** Ends the watches as a server does; or its side of the connection, in the middle of the stream; or the connection. */
  end(resource: string, how: 'properly' | 'half' | 'reset' = 'properly'): void {
    for (const watcher of this.#watching(resource)) {
      this.#watchers.delete(watcher);
      if (how === 'properly') watcher.response.end();
      else if (how === 'half') watcher.response.socket?.end();
      else watcher.response.socket?.resetAndDestroy();
    }
  }

  /** The next request that fits is answered so. */
  next(matches: (seen: Seen) => boolean, answer: Instead): void {
    this.#instead.push({ matches, answer });
  }

  /** Resolves once so many watch the resource. */
  async watched(resource: string, count = 1): Promise<void> {
    await this.until(() => this.#watching(resource).length === count);
  }

  /** Resolves once it holds; looked at whenever a request or a watch comes or goes. */
  async until(holds: () => boolean): Promise<void> {
    while (!holds()) await this.#changed.promise;
  }

  lists(resource: string): readonly Seen[] {
    return this.requests.filter(({ path, query }) => path === listKinds[resource]![0] && !query['watch']);
  }

  watches(resource: string): readonly Seen[] {
    return this.requests.filter(({ path, query }) => path === listKinds[resource]![0] && query['watch']);
  }

  #all(resource: string): Map<string, ApiObject> {
    return this.#objects.get(resource)!;
  }

  #watching(resource: string): readonly Watcher[] {
    return [...this.#watchers].filter(watcher => watcher.resource === resource);
  }

  #notify(): void {
    this.#changed.resolve();
    this.#changed = Promise.withResolvers();
  }

  #change(resource: string, before: ApiObject | undefined, object: ApiObject | undefined): void {
    const version = ++this.#version;
    const stamped = (of: ApiObject) => ({ ...of, metadata: { ...of.metadata, resourceVersion: String(version) } });
    const after = object && stamped(object);
    if (after) this.#all(resource).set(keyOf(after), after);
    else if (before) this.#all(resource).delete(keyOf(before));
    const change = { version, resource, before: before && stamped(before), after };
    this.#history.push(change);
    for (const watcher of this.#watching(resource)) this.#tell(watcher, change);
  }

  #tell({ response, selector, resource }: Watcher, change: Change): void {
    if (change.resource !== resource || this.#silent.has(resource)) return;
    const [was, is] = [isSelected(change.before, selector), isSelected(change.after, selector)];
    if (!was && !is) return;
    const type = !was ? 'ADDED' : is ? 'MODIFIED' : 'DELETED';
    response.write(`${JSON.stringify({ type, object: is ? change.after : change.before })}\n`);
  }

  async #handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const url = new URL(request.url ?? '', this.url);
    const seen = {
      method: request.method ?? '',
      path: url.pathname,
      query: Object.fromEntries(url.searchParams),
      headers: request.headers,
      body: Buffer.concat(chunks).toString(),
      port: request.socket.remotePort ?? 0,
      commonName: this.#options.tls?.requestCert
        ? String((request.socket as TLSSocket).getPeerCertificate().subject?.CN)
        : undefined,
    };
    this.requests.push(seen);
    this.#notify();
    const index = this.#instead.findIndex(({ matches }) => matches(seen));
    if (this.#isAway) refuse(response, statusOf(503, 'ServiceUnavailable'));
    else if (index >= 0) this.#instead.splice(index, 1)[0]!.answer(response, seen);
    else if (this.#options.accepts?.(seen.headers.authorization) === false)
      refuse(response, statusOf(401, 'Unauthorized'));
    else this.#answer(response, seen);
  }

  #answer(response: ServerResponse, seen: Seen): void {
    const { path, namespace } = withoutNamespace(seen.path);
    const resource = this.#resources().find(name => listKinds[name]![0] === path);
    if (seen.path.startsWith('/apis') && !resource) this.#discover(response, seen.path);
    else if (resource && seen.query['watch']) this.#watch(resource, response, seen);
    else if (resource) this.#list(resource, response, seen, namespace);
    else this.#single(response, seen);
  }

  #resources(): readonly string[] {
    return Object.keys(listKinds).filter(name => !isCustom(listKinds[name]![0]) || this.#installed.has(name));
  }

  /** Answers discovery as an API server does, and an unknown path as Go's multiplexer does. */
  #discover(response: ServerResponse, path: string): void {
    const served = this.#resources().filter(name => listKinds[name]![0].startsWith('/apis/'));
    const versions = [...new Set(served.map(name => groupVersionOf(listKinds[name]![0])))];
    const own = served.filter(name => `/apis/${groupVersionOf(listKinds[name]![0])}` === path);
    if (path === '/apis') {
      const groups = versions.map(groupVersion => ({ name: groupVersion.split('/')[0], versions: [{ groupVersion }] }));
      response.end(JSON.stringify({ kind: 'APIGroupList', groups }));
    } else if (own.length > 0)
      response.end(
        JSON.stringify({ kind: 'APIResourceList', resources: own.map(name => ({ name: name.split(' ')[0] })) }),
      );
    else response.writeHead(404, { 'content-type': 'text/plain' }).end('404 page not found\n');
  }

  #single(response: ServerResponse, { path, method }: Seen): void {
    const [, , , first, second, third, name] = path.split('/');
    const key = third === 'pods' && first === 'namespaces' ? `${second}/${name}` : undefined;
    const object = key === undefined ? this.#all('nodes').get(`/${second}`) : this.#all('pods').get(key);
    if (!object) refuse(response, statusOf(404, 'NotFound', `${path} not found`));
    else if (method === 'PATCH' && third !== 'status') refuse(response, statusOf(405, 'MethodNotAllowed'));
    else response.end(JSON.stringify(object));
  }

  #watch(resource: string, response: ServerResponse, { query }: Seen): void {
    const since = Number(query['resourceVersion'] || this.#oldest);
    response.writeHead(200, { 'content-type': 'application/json' }).flushHeaders();
    if (since < this.#oldest) {
      const object = statusOf(410, 'Expired', `too old resource version: ${since} (${this.#oldest})`);
      response.end(`${JSON.stringify({ type: 'ERROR', object })}\n`);
      return;
    }
    const selector = this.#options.ignoresSelectors ? undefined : query['fieldSelector'];
    const watcher = { resource, selector, response };
    for (const change of this.#history) if (change.version > since) this.#tell(watcher, change);
    this.#watchers.add(watcher);
    this.#notify();
    response.once('close', () => {
      this.#watchers.delete(watcher);
      this.#notify();
    });
  }

  #list(resource: string, response: ServerResponse, { query, headers }: Seen, namespace?: string): void {
    const { limit, resourceVersion = '' } = query;
    if (Number(resourceVersion) > this.#version) {
      const details = { causes: [{ reason: 'ResourceVersionTooLarge', message: 'Too large resource version' }] };
      refuse(response, statusOf(504, 'Timeout', 'Too large resource version', details), { 'retry-after': '1' });
      return;
    }
    const token = /^(\d+):(\d+)$/.exec(query['continue'] ?? '');
    const version = token?.[1] ?? this.version;
    const start = Number(token?.[2] ?? 0);
    const snapshot = token ? this.#snapshots.get(`${resource} ${version}`) : this.#selected(resource, query, namespace);
    if (!snapshot) {
      refuse(response, statusOf(410, 'Expired', 'The provided continue parameter is too old'));
      return;
    }
    const isPaged = limit !== undefined && (resourceVersion === '' || this.#options.alwaysPages === true);
    const items = isPaged ? snapshot.slice(start, start + Number(limit)) : snapshot;
    const end = start + items.length;
    if (end < snapshot.length) this.#snapshots.set(`${resource} ${version}`, snapshot);
    const more =
      end < snapshot.length ? { continue: `${version}:${end}`, remainingItemCount: snapshot.length - end } : {};
    const kind = `${listKinds[resource]![1]}List`;
    // Go writes no list as null.
    const list = {
      kind,
      apiVersion: 'v1',
      metadata: { resourceVersion: version, ...more },
      items: items.length > 0 ? items : null,
    };
    const packs = headers['accept-encoding']?.includes('gzip') === true;
    if (packs) response.setHeader('content-encoding', 'gzip');
    response.end(packs ? gzipSync(JSON.stringify(list)) : JSON.stringify(list));
  }

  #selected(resource: string, { fieldSelector }: Seen['query'], namespace?: string): readonly ApiObject[] {
    const everywhere = [...this.#all(resource).values()];
    const all = namespace === undefined ? everywhere : everywhere.filter(of => of.metadata.namespace === namespace);
    return this.#options.ignoresSelectors ? all : all.filter(object => isSelected(object, fieldSelector));
  }
}
