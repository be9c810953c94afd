/** @see https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#syntax-and-character-set */
import { isObjectName } from '../../tag/object-names.ts';

const namePart = /^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$/;

export function isLabelKey(key: string): boolean {
  const slash = key.indexOf('/');
  const prefix = slash < 0 ? undefined : key.slice(0, slash);
  const name = key.slice(slash + 1);
  if (prefix !== undefined && !isObjectName(prefix)) return false;
  return name.length <= 63 && namePart.test(name);
}

export const isLabelValue = (value: string): boolean => value === '' || (value.length <= 63 && namePart.test(value));

/** IANA service name (RFC 6335, 5.1): what a port may be called. */
export const isPortName = (name: string): boolean =>
  /^[a-z0-9]+(-[a-z0-9]+)*$/.test(name) && name.length <= 15 && /[a-z]/.test(name);
