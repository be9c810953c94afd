/** Pods that one controller made have one name but for what it appended. */

/** Characters of generated names: no vowels, so that no words come about. @see k8s.io/apimachinery/pkg/util/rand */
const RANDOM = '[bcdfghjklmnpqrstvwxz2456789]';

/** Deployment: hash of the template, then five random characters; DaemonSet, Job: these five alone; StatefulSet: a number. */
const generated = new RegExp(`(?:-${RANDOM}{6,10}-${RANDOM}{5}|-${RANDOM}{5}|-\\d{1,4})$`);

/** `web` for `web-7d9c6b8f5-x2x9z`, `agent-k4b7z` and `web-0`; the pod's own name where nothing was appended. */
export const workloadOf = (pod: string): string => pod.replace(generated, '') || pod;
