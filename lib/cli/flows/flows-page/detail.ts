/** Why a flow was allowed or denied: both directions, the text of the policies, and what would allow it. */
import type { Entry, FlowJudgement, FlowRecord, StagedJudgement } from '../../../flows/model.ts';
import { element, find, withText } from '../../policy/matrix-page/elements.ts';
import type { Api } from './api.ts';
import { bytesText, clock, placeText, targetText } from './words.ts';

interface PolicyText {
  readonly ref: string;
  readonly yaml: string;
}

/** The agent's explanation of one flow. */
interface Explained {
  /** As it is now. */
  readonly flow: FlowRecord;
  readonly policies: readonly PolicyText[];
  readonly staged: readonly PolicyText[];
  readonly remedies: readonly string[];
}

/** Milliseconds between two questions for the bytes of a flow that is open. */
const AGAIN = 3_000;

const heading = (text: string): HTMLElement => withText(element('h3'), text);

function list(pairs: readonly (readonly [name: string, text: string, kind?: string])[]): HTMLElement {
  const made = element('dl');
  for (const [name, text, kind = ''] of pairs)
    made.append(withText(element('dt'), name), withText(element('dd', kind), text));
  return made;
}

const direction = (name: string, judged: FlowJudgement | null): readonly [string, string, string?] =>
  judged ? [name, judged.why, judged.allowed ? 'allowed' : 'denied'] : [name, 'not judged on this node'];

/** The verdict that would be, the staged policies that make it so, and their rules. */
const besides = ({ verdict, by, rules, why }: StagedJudgement): readonly (readonly [string, string, string?])[] => [
  ['If staged were in force', `${verdict}: ${why}`, 'would'],
  ['Staged', (rules.length > 0 ? rules : by).join(', ')],
];

const texts = (policies: readonly PolicyText[], prefix = ''): readonly HTMLElement[] =>
  policies.flatMap(({ ref, yaml }) => [
    heading(`${prefix}${ref}`),
    withText(element('pre', '', { tabindex: 0 }), yaml),
  ]);

const labelsText = (labels: Readonly<Record<string, string>> = {}): string =>
  Object.entries(labels)
    .map(([key, value]) => `${key}=${value}`)
    .join(', ') || 'none';

function copyButton(text: string): HTMLElement {
  const button = withText(element('button', '', { type: 'button' }), 'Copy as NetworkPolicy');
  button.addEventListener('click', () => {
    navigator.clipboard.writeText(text).then(
      () => withText(button, 'Copied'),
      () => withText(button, 'Select the text to copy it'),
    );
  });
  return button;
}

function facts(flow: FlowRecord): HTMLElement {
  const end = flow.end === null ? 'open' : clock(flow.end);
  return list([
    ['Verdict', flow.verdict, flow.verdict],
    ['When', `${flow.isStartKnown ? '' : 'before '}${clock(flow.time)} – ${end}`],
    ['From', `${flow.from.address}${flow.sourcePort === null ? '' : ` ${flow.sourcePort}`}`],
    ['To', `${flow.to.address}${flow.port === null ? '' : ` ${flow.port}`}`],
    ...(flow.sentTo ? ([['Sent to', placeText(flow.sentTo)]] as const) : []),
    ...(flow.seenFrom ? ([['Seen as', placeText(flow.seenFrom)]] as const) : []),
    ...(flow.from.kind === 'pod' ? ([['From labels', labelsText(flow.from.labels)]] as const) : []),
    ...(flow.to.kind === 'pod' ? ([['To labels', labelsText(flow.to.labels)]] as const) : []),
    ...(bytesText(flow) ? ([['Bytes', bytesText(flow)]] as const) : []),
    direction('Egress', flow.egress),
    direction('Ingress', flow.ingress),
    ...(flow.staged ? besides(flow.staged) : []),
    ...(flow.doubt ? ([['Doubt', flow.doubt]] as const) : []),
  ]);
}

export class Detail {
  readonly #api: Api;
  readonly #panel = find('detail');
  /** Ends with the flow that is shown. */
  #showing = new AbortController();
  /** The record that flows are of, by its beginning. */
  #record = 0;
  #facts: HTMLElement = element('dl');

  constructor(api: Api) {
    this.#api = api;
  }

  /** Flows from now on are of this record, and the one that is shown may be of another. */
  of(record: number): void {
    if (record === this.#record) return;
    this.#record = record;
    this.#hide();
  }

  #hide(): void {
    this.#showing.abort();
    this.#panel.hidden = true;
  }

  close(): void {
    this.#hide();
    find('grid').focus();
  }

  show(entry: Entry): void {
    if (entry.kind !== 'flow') return;
    const close = withText(element('button', 'close', { type: 'button', 'aria-label': 'Close' }), '✕');
    close.addEventListener('click', () => this.close());
    const title = withText(element('h2'), `${entry.from.name} → ${targetText(entry)}`);
    this.#facts = facts(entry);
    this.#panel.replaceChildren(close, title, this.#facts);
    this.#panel.hidden = false;
    this.#showing.abort();
    this.#showing = new AbortController();
    void this.#explain(entry, this.#showing.signal);
  }

  #asked({ id }: FlowRecord, signal: AbortSignal): Promise<Explained> {
    return this.#api.json<Explained>(`/flows/explain?id=${id}&record=${this.#record}`, signal);
  }

  /** An open flow's bytes and end are told as they come, for as long as it is shown. */
  async #renew(flow: FlowRecord, signal: AbortSignal): Promise<void> {
    for (let now = flow; now.state === 'open'; this.#tell(now)) {
      await new Promise(done => setTimeout(done, AGAIN));
      now = (await this.#asked(flow, signal)).flow;
      signal.throwIfAborted();
    }
  }

  #tell(flow: FlowRecord): void {
    const before = this.#facts;
    this.#facts = facts(flow);
    before.replaceWith(this.#facts);
  }

  async #explain(flow: FlowRecord, signal: AbortSignal): Promise<void> {
    let more: readonly HTMLElement[];
    try {
      const { flow: now, policies, staged, remedies } = await this.#asked(flow, signal);
      if (signal.aborted) return;
      this.#tell(now);
      void this.#renew(now, signal).catch(() => undefined);
      more = [
        ...texts(policies),
        ...texts(staged, 'Staged: '),
        ...remedies.flatMap(yaml => [
          heading('What would allow it'),
          withText(element('pre', 'remedy', { tabindex: 0 }), yaml),
          copyButton(yaml),
        ]),
      ];
    } catch (error) {
      more = [withText(element('p'), error instanceof Error ? error.message : String(error))];
    }
    if (!signal.aborted) this.#panel.append(...more);
  }
}
