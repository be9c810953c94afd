/**
 * Keeps those fields of a manifest or a network's configuration that may leave the node: all that tollgate reads, and none that
 * can be a secret. A folder of manifests may hold Secrets, and Pods whose environment does.
 */
type Fields = Readonly<Record<string, unknown>>;

const isFields = (value: unknown): value is Fields =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** A filter over a value: true keeps all of it, keys keep only themselves, a list is filtered item by item. */
type Shape = true | { readonly [key: string]: Shape };

function only(value: unknown, shape: Shape): unknown {
  if (shape === true) return value;
  if (Array.isArray(value)) return value.map(item => only(item, shape));
  if (!isFields(value)) return undefined;
  const kept = Object.entries(shape).flatMap(([key, inner]) => {
    const found = key in value ? only(value[key], inner) : undefined;
    return found === undefined ? [] : [[key, found] as const];
  });
  return Object.fromEntries(kept);
}

/** Annotations hold whole objects (`last-applied-configuration`) and tokens of other programs. */
const metadata: Shape = { name: true, namespace: true, uid: true, resourceVersion: true, labels: true };
const policy: Shape = { apiVersion: true, kind: true, metadata, spec: true };
const container: Shape = { name: true, ports: true };

const kinds: Readonly<Record<string, Shape>> = {
  NetworkPolicy: policy,
  ClusterNetworkPolicy: policy,
  AdminNetworkPolicy: policy,
  BaselineAdminNetworkPolicy: policy,
  Namespace: { apiVersion: true, kind: true, metadata },
  Node: {
    apiVersion: true,
    kind: true,
    metadata,
    spec: { podCIDR: true, podCIDRs: true },
    status: { addresses: true },
  },
  Pod: {
    apiVersion: true,
    kind: true,
    metadata,
    spec: { nodeName: true, hostNetwork: true, containers: container, initContainers: container },
    status: { phase: true, podIP: true, podIPs: true, hostIP: true },
  },
};

/** Undefined where it is of a kind that tollgate does not read. */
export function safeManifest(value: unknown): unknown {
  if (!isFields(value)) return undefined;
  if (Array.isArray(value['items']))
    return {
      apiVersion: value['apiVersion'],
      kind: value['kind'],
      items: value['items'].flatMap(item => safeManifest(item) ?? []),
    };
  const shape = kinds[String(value['kind'])];
  return shape && only(value, shape);
}

/** True for keys under which programs keep secrets. */
const isSecretKey = (key: string): boolean => /token|passw|secret|credential|auth|private|key$/i.test(key);

/** A network's configuration with the values of such keys blotted out. */
export function safeConfig(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(safeConfig);
  if (!isFields(value)) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, inner]) => [key, isSecretKey(key) ? '(left out)' : safeConfig(inner)]),
  );
}
