/** The API server as an admin uses it: objects in, objects out, as JSON. */
import https from 'node:https';
import type { Json } from '../support/cni.ts';
import { PATIENCE } from '../support/until.ts';

export interface Meta {
  readonly name: string;
  readonly namespace?: string;
  readonly uid?: string;
  readonly labels?: Readonly<Record<string, string>>;
}

export interface KubeObject {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: Meta;
  readonly [field: string]: unknown;
}

interface Status {
  readonly type: string;
  readonly status: string;
}

export interface Pod extends KubeObject {
  readonly spec: { readonly nodeName?: string };
  readonly status: {
    readonly phase: string;
    readonly podIP?: string;
    readonly podIPs?: readonly { readonly ip: string }[];
    readonly conditions?: readonly Status[];
    readonly containerStatuses?: readonly { readonly restartCount: number }[];
  };
}

export interface Node extends KubeObject {
  readonly spec: { readonly podCIDR?: string; readonly podCIDRs?: readonly string[] };
  readonly status: {
    readonly conditions?: readonly Status[];
    readonly addresses?: readonly { readonly type: string; readonly address: string }[];
  };
}

interface List<T> {
  readonly apiVersion: string;
  readonly kind: string;
  readonly items: readonly T[];
}

interface Answer {
  readonly status: number;
  readonly body: unknown;
}

export interface Access {
  readonly server: string;
  readonly token: string;
  /** PEM. */
  readonly authority: string;
}

/** Plural names, and which kinds lie in namespaces. */
const kinds: Readonly<Record<string, { readonly plural: string; readonly isNamespaced: boolean }>> = {
  ClusterRole: { plural: 'clusterroles', isNamespaced: false },
  ClusterRoleBinding: { plural: 'clusterrolebindings', isNamespaced: false },
  ConfigMap: { plural: 'configmaps', isNamespaced: true },
  ClusterNetworkPolicy: { plural: 'clusternetworkpolicies', isNamespaced: false },
  CustomResourceDefinition: { plural: 'customresourcedefinitions', isNamespaced: false },
  Deployment: { plural: 'deployments', isNamespaced: true },
  DaemonSet: { plural: 'daemonsets', isNamespaced: true },
  Namespace: { plural: 'namespaces', isNamespaced: false },
  NetworkPolicy: { plural: 'networkpolicies', isNamespaced: true },
  Node: { plural: 'nodes', isNamespaced: false },
  Pod: { plural: 'pods', isNamespaced: true },
  Service: { plural: 'services', isNamespaced: true },
  ServiceAccount: { plural: 'serviceaccounts', isNamespaced: true },
};

export function pathOf({ apiVersion, kind, metadata: { name, namespace } }: KubeObject): string {
  const known = kinds[kind]!;
  const group = apiVersion.includes('/') ? `/apis/${apiVersion}` : `/api/${apiVersion}`;
  const folder = known.isNamespaced ? `/namespaces/${namespace}` : '';
  return `${group}${folder}/${known.plural}/${name}`;
}

export const isTrue = (conditions: readonly Status[] | undefined, type: string): boolean =>
  conditions?.some(condition => condition.type === type && condition.status === 'True') ?? false;

class StaleConnection extends Error {
  override readonly name = 'StaleConnection';
}

export class Api implements Disposable {
  readonly #access: Access;
  readonly #agent: https.Agent;

  constructor(access: Access) {
    this.#access = access;
    this.#agent = new https.Agent({ keepAlive: true, ca: access.authority });
  }

  [Symbol.dispose](): void {
    this.#agent.destroy();
  }

  async #send(method: string, path: string, body?: unknown, type = 'application/json'): Promise<Answer> {
    try {
      return await this.#ask(method, path, body, type);
    } catch (error) {
      // The server closed the connection while it rested: it has not read the request.
      if (!(error instanceof StaleConnection)) throw error;
      return await this.#send(method, path, body, type);
    }
  }

  /** @throws StaleConnection where a connection of an earlier request ends before an answer begins */
  async #ask(method: string, path: string, body: unknown, type: string): Promise<Answer> {
    const { promise, resolve, reject } = Promise.withResolvers<Answer>();
    const text = body === undefined ? '' : JSON.stringify(body);
    const headers = {
      authorization: `Bearer ${this.#access.token}`,
      'content-type': type,
      // Node would leave it out of a DELETE.
      'content-length': Buffer.byteLength(text),
    };
    const url = new URL(path, this.#access.server);
    const request = https.request(url, { method, headers, agent: this.#agent, timeout: PATIENCE }, response => {
      let answer = '';
      response.setEncoding('utf8').on('data', chunk => {
        answer += chunk;
      });
      response.on('error', reject).on('end', () => {
        const isJson = response.headers['content-type']?.startsWith('application/json');
        resolve({ status: response.statusCode!, body: isJson ? JSON.parse(answer) : answer });
      });
    });
    request.on('timeout', () => request.destroy(new Error(`${method} ${path}: no answer`)));
    request.on('error', (error: NodeJS.ErrnoException) => {
      const isStale = request.reusedSocket && (error.code === 'ECONNRESET' || error.code === 'EPIPE');
      reject(isStale ? new StaleConnection(`${method} ${path}: ${error.message}`) : error);
    });
    request.end(text);
    return await promise;
  }

  /** @throws Error where it is refused */
  async #must(method: string, path: string, body?: unknown, type?: string): Promise<unknown> {
    const answer = await this.#send(method, path, body, type);
    if (answer.status < 300) return answer.body;
    throw new Error(`${method} ${path}: ${answer.status}: ${JSON.stringify(answer.body)}`);
  }

  /** Whether it answers, and says that all is well. */
  async isReady(): Promise<boolean> {
    try {
      return (await this.#send('GET', '/readyz')).status === 200;
    } catch {
      return false;
    }
  }

  /** Undefined where there is none. */
  async get<T>(path: string): Promise<T | undefined> {
    const { status, body } = await this.#send('GET', path);
    if (status === 404) return undefined;
    if (status !== 200) throw new Error(`GET ${path}: ${status}: ${JSON.stringify(body)}`);
    return body as T;
  }

  /** The server leaves kinds out of a list's items, since all are of one. */
  async list<T extends KubeObject>(path: string): Promise<readonly T[]> {
    const { apiVersion, kind, items } = (await this.#must('GET', path)) as List<T>;
    return items.map(item => ({ ...item, apiVersion, kind: kind.replace(/List$/, '') }));
  }

  /** Makes it so, whether it is there already or not. A conflict (409) is with a controller that writes at the same moment. */
  async apply<T extends KubeObject>(object: T): Promise<T> {
    const path = `${pathOf(object)}?fieldManager=test&force=true`;
    for (let left = 5; ; left--) {
      const { status, body } = await this.#send('PATCH', path, object, 'application/apply-patch+yaml');
      if (status < 300) return body as T;
      if (status !== 409 || left === 0) throw new Error(`PATCH ${path}: ${status}: ${JSON.stringify(body)}`);
    }
  }

  /** Sets labels, and with null takes them away. */
  async label(object: KubeObject, labels: Readonly<Record<string, string | null>>): Promise<void> {
    await this.#must('PATCH', pathOf(object), { metadata: { labels } }, 'application/merge-patch+json');
  }

  /** @param grace seconds; 0: out of the API at once, whatever still runs; absent: as the object says */
  async delete(object: KubeObject, grace?: number): Promise<void> {
    const options: Json = grace === undefined ? {} : { gracePeriodSeconds: grace };
    const { status, body } = await this.#send('DELETE', pathOf(object), options);
    if (status >= 300 && status !== 404)
      throw new Error(`DELETE ${pathOf(object)}: ${status}: ${JSON.stringify(body)}`);
  }

  /** Deletes all of the kind in the namespace. */
  async deleteAll(path: string): Promise<void> {
    await this.#must('DELETE', path);
  }
}
