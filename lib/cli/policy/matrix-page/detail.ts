/** The panel that tells the chosen pair in full. */
import { element, named, withText } from './elements.ts';
import type { FamilyVerdict, Verdicts } from './verdicts.ts';

const isAlike = (a: FamilyVerdict, b: FamilyVerdict): boolean =>
  JSON.stringify([a.egress, a.ingress]) === JSON.stringify([b.egress, b.ingress]);

function verdictParts(verdicts: Verdicts, from: number, to: number): readonly HTMLElement[] {
  const found = verdicts.pair(from, to);
  if (found.length === 0) return [withText(element('p'), verdicts.outcome(from, to))];
  const areAlike = found.length === 2 && isAlike(found[0]!, found[1]!);
  return (areAlike ? found.slice(0, 1) : found).flatMap(each => {
    const { family, allowed } = each;
    const word = allowed ? 'allowed' : 'denied';
    const title = family === null ? 'By labels, for want of addresses' : areAlike ? 'IPv4 and IPv6' : `IPv${family}`;
    const head = element('h3');
    head.append(element('span', `cell ${word}`), `${title}: ${word}`);
    const sides = (['egress', 'ingress'] as const).map(side => {
      const text = element('p');
      const mark = withText(element('b', each[side].allowed ? 'yes' : 'no'), side === 'egress' ? 'Out: ' : 'In: ');
      text.append(mark, `${verdicts.sentence(each[side], from, to)}.`);
      return text;
    });
    return [head, ...sides];
  });
}

/** The verdicts that would differ if the staged policies were in force. */
function stagedParts(verdicts: Verdicts, from: number, to: number): readonly HTMLElement[] {
  return verdicts.moved(from, to).flatMap(({ family, allowed, egress, ingress }) => {
    const word = allowed ? 'allowed' : 'denied';
    const head = element('h3');
    const over = family === null ? '' : ` over IPv${family}`;
    head.append(element('span', `cell ${word}`), `With the staged policies in force it would be ${word}${over}`);
    const why = verdicts.sentence(egress.allowed ? ingress : egress, from, to);
    return [head, withText(element('p'), `${why}.`)];
  });
}

/** Shows the pair in the panel; nothing where no pair is chosen. */
export function showDetail(
  detail: HTMLElement,
  verdicts: Verdicts,
  from: number | undefined,
  to: number | undefined,
): void {
  detail.replaceChildren();
  if (from === undefined || to === undefined) return;
  const title = element('h2');
  title.append(named(element('span'), verdicts.name(from)), ' → ', named(element('span'), verdicts.name(to)));
  const labels = (from === to ? [from] : [from, to]).map(pod =>
    withText(element('p', 'labels'), [...verdicts.labels(pod), ...verdicts.data.pods[pod]!.addresses].join(' · ')),
  );
  detail.append(title, ...labels, ...verdictParts(verdicts, from, to), ...stagedParts(verdicts, from, to));
}
