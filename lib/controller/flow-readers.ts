/**
 * Recorded flows for readers who take their time: lists and what is live are written piece by piece, as they are read, for a
 * few readers at once. So however many they are and however slowly they read, what waits for them is bounded.
 */
import type { Filter } from '../flows/filter.ts';
import type { ListQuery } from '../flows/listing.ts';
import type { Entry, LiveMessage } from '../flows/model.ts';
import type { FlowRecorder } from './flow-recorder.ts';
import type { HttpStream, Outlet } from './http-server.ts';

/** Milliseconds between two live messages, and entries in one. */
const LIVE = 200;
const MOST_LIVE = 500;
/** Messages without news, so that both ends notice when the other has gone. In milliseconds. */
const HEARTBEAT = 1_000;
/** Readers at once; the oldest gives way to one more. */
const MOST_READERS = 16;
/** Characters of a piece of what has been, and of a live message: a flow may have hundreds of labels and dozens of policies. */
const PIECE = 64 * 1024;
const MOST_TEXT = 256 * 1024;

/** One of the few, until it has gone. */
class Reader implements Disposable {
  readonly #outlet: Outlet;
  readonly #readers: Set<Outlet>;
  #isOver = false;

  constructor(readers: Set<Outlet>, outlet: Outlet) {
    this.#outlet = outlet;
    this.#readers = readers.add(outlet);
    const [oldest] = readers;
    if (!oldest || readers.size <= MOST_READERS) return;
    // Taken out now: the reader goes only later, and many more may have come by then.
    readers.delete(oldest);
    oldest.cut();
  }

  /** Writes each piece once the one before it was read; `after` once all are written. */
  write(pieces: Iterable<string>, after: () => void): void {
    const write = async (): Promise<void> => {
      for (const piece of pieces) {
        this.#outlet.write(piece);
        if (this.#outlet.isFull()) await this.#outlet.drained();
        if (this.#isOver) return;
      }
      after();
    };
    // The client sees that the answer is not whole.
    write().catch(() => this.#outlet.cut());
  }

  [Symbol.dispose](): void {
    this.#isOver = true;
    this.#readers.delete(this.#outlet);
  }
}

/** Entries as JSON, so many at a time as make a piece. */
function* pieces(entries: Iterable<Entry>): Generator<readonly string[]> {
  let [texts, length]: [string[], number] = [[], 0];
  for (const entry of entries) {
    const text = JSON.stringify(entry);
    length += text.length;
    if (texts.push(text) < MOST_LIVE && length < PIECE) continue;
    yield texts;
    [texts, length] = [[], 0];
  }
  if (texts.length > 0) yield texts;
}

function* mapped<T, U>(values: Iterable<T>, to: (value: T) => U): Generator<U> {
  for (const value of values) yield to(value);
}

const now = (): number => Date.now() / 1000;

/** A list as lines of JSON. */
export const listStream = ({ journal, readers }: FlowRecorder, query: ListQuery): HttpStream => ({
  type: 'application/jsonl',
  begin: outlet => {
    const reader = new Reader(readers, outlet);
    const lines = mapped(pieces(journal.list(query, now())), texts => `${texts.join('\n')}\n`);
    reader.write(lines, () => outlet.finish());
    return reader;
  },
});

type Message = Omit<LiveMessage, 'entries'> & { readonly texts: readonly string[] };

const messageText = ({ texts, ...rest }: Message): string =>
  `data: {"entries":[${texts.join(',')}],${JSON.stringify(rest).slice(1)}\n\n`;

/** The newest entries that fit; those that do not are skipped. */
function fitting(entries: readonly Entry[], skipped: number): Message {
  const texts: string[] = [];
  let length = 0;
  for (const entry of entries.toReversed()) {
    const text = JSON.stringify(entry);
    length += text.length + 1;
    if (length > MOST_TEXT) break;
    texts.unshift(text);
  }
  return { texts, skipped: skipped + entries.length - texts.length };
}

function beginLive(recorder: FlowRecorder, filter: Filter, past: ListQuery | undefined, outlet: Outlet): Disposable {
  const { journal, readers, since } = recorder;
  // Chosen at one moment: between what has been and what comes nothing is missing, and nothing comes twice.
  let { cursor } = journal;
  const been = past ? pieces(journal.list(past, now())) : [];
  let last = Date.now();
  let timer: NodeJS.Timeout | undefined;
  const tell = (): void => {
    if (outlet.isFull()) return;
    const page = journal.read(cursor, { filter, most: MOST_LIVE });
    cursor = page.cursor;
    const isNews = page.entries.length > 0 || page.skipped > 0;
    if (!isNews && Date.now() - last < HEARTBEAT) return;
    last = Date.now();
    outlet.write(messageText(fitting(page.entries, page.skipped)));
  };
  const reader = new Reader(readers, outlet);
  // The reader knows that it is heard.
  outlet.write(messageText({ texts: [], skipped: 0, since }));
  const messages = mapped(been, texts => messageText({ texts, skipped: 0, isPast: true }));
  reader.write(messages, () => {
    if (past) outlet.write(messageText({ texts: [], skipped: 0 }));
    timer = setInterval(tell, LIVE).unref();
  });
  return {
    [Symbol.dispose]() {
      clearInterval(timer);
      reader[Symbol.dispose]();
    },
  };
}

/**
 * What comes from now on, after what has been where that is asked for. No more is written than is read: what is left out
 * meanwhile is counted, and told with the next message.
 */
export const liveStream = (recorder: FlowRecorder, filter: Filter, past?: ListQuery): HttpStream => ({
  type: 'text/event-stream',
  begin: outlet => beginLive(recorder, filter, past, outlet),
});
