import type { Attachment } from '../state/attachment.ts';
import type { Context } from './context.ts';
import { homeOf, readFacts } from './facts.ts';
import { hostEnd, isPodGone, lookUpIn } from './own-link.ts';

/**
 * Why no pod and no call needs the attachment; undefined where one may. A record that is not finished and
 * not locked was left by a call that died; a veth, whichever plugin made it, dies with its pod's network namespace. An
 * attachment of another network namespace is never dead here.
 */
export function deathOf(
  { facts }: Pick<Attachment, 'facts'>,
  context: Pick<Context, 'host' | 'here'>,
): string | undefined {
  const { kind, pod, home } = readFacts(facts);
  if (home !== undefined && home !== homeOf(context.here)) return undefined;
  if (facts.phase !== 'ready') return 'its ADD died halfway';
  if (kind === 'ipam' || pod === undefined) return undefined;
  const link = hostEnd(lookUpIn(context.host), pod);
  if (!link) return 'its interface is gone';
  return isPodGone(context.host, link) ? 'its network namespace is gone' : undefined;
}
