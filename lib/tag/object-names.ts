/** What objects of Kubernetes may be called. @see https://kubernetes.io/docs/concepts/overview/working-with-objects/names/ */

const label = '[a-z0-9]([-a-z0-9]*[a-z0-9])?';
const dnsLabel = new RegExp(`^${label}$`);
const dnsSubdomain = new RegExp(`^${label}(\\.${label})*$`);

/** RFC 1123 subdomain of at most 253 characters: what pods, policies and nodes may be called. */
export const isObjectName = (name: string): boolean => name.length <= 253 && dnsSubdomain.test(name);

/** RFC 1123 label: what a namespace may be called. */
export const isNamespaceName = (name: string): boolean => name.length <= 63 && dnsLabel.test(name);

/** What podman, nerdctl and docker let a container be called. */
export const isContainerName = (name: string): boolean => /^[A-Za-z0-9][A-Za-z0-9_.-]*$/.test(name);
