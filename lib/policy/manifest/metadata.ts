/** What is wrong with the metadata of an object of a manifest. */
import { type Field, holdsOnly, isAbsent, member, warn } from './field.ts';

/** Those of all versions of Kubernetes. */
const known = [
  ...['name', 'namespace', 'labels', 'annotations', 'generateName', 'uid', 'resourceVersion', 'generation', 'selfLink'],
  ...['creationTimestamp', 'deletionTimestamp', 'deletionGracePeriodSeconds', 'ownerReferences', 'finalizers'],
  ...['managedFields', 'initializers', 'clusterName'],
];

/**
 * Reports fields that no metadata has, which may be the namespace or the labels that were meant, and a namespace where the
 * object has none.
 */
export function checkMetadata(metadata: Field, isNamespaced: boolean): void {
  holdsOnly(metadata, known, 'it says nothing');
  const namespace = member(metadata, 'namespace');
  if (!isNamespaced && !isAbsent(namespace))
    warn(namespace, 'A namespace, and this is an object of the whole cluster, so it says nothing: take it out');
}
