/** @see https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#syntax-and-character-set */

const dnsSubdomain = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;
const namePart = /^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$/;

export function isLabelKey(key: string): boolean {
  const slash = key.indexOf('/');
  const prefix = slash < 0 ? undefined : key.slice(0, slash);
  const name = key.slice(slash + 1);
  if (prefix !== undefined && (prefix.length > 253 || !dnsSubdomain.test(prefix))) return false;
  return name.length <= 63 && namePart.test(name);
}

export const isLabelValue = (value: string): boolean => value === '' || (value.length <= 63 && namePart.test(value));

/** RFC 1123 label: what a namespace may be called. */
export const isNamespaceName = (name: string): boolean =>
  name.length <= 63 && /^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/.test(name);

/** RFC 1123 subdomain: what pods, policies and nodes may be called. */
export const isObjectName = (name: string): boolean => name.length <= 253 && dnsSubdomain.test(name);

/** IANA service name (RFC 6335, 5.1): what a port may be called. */
export const isPortName = (name: string): boolean =>
  /^[a-z0-9]+(-[a-z0-9]+)*$/.test(name) && name.length <= 15 && /[a-z]/.test(name);
