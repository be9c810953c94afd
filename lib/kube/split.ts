/**
 * Where one JSON text ends and the next begins in a stream of bytes, so that each can be parsed, trimmed and forgotten by
 * itself: a body is never held whole, and an object that came in many chunks is put together once.
 */

/** The pieces of a text whose end has not come yet. */
class Pieces {
  #pieces: Buffer[] = [];
  #size = 0;
  readonly #most: number;

  constructor(most: number) {
    this.#most = most;
  }

  get size(): number {
    return this.#size;
  }

  add(piece: Buffer): void {
    this.#size += piece.length;
    if (this.#size > this.#most) throw new SplitError(`an object of more than ${this.#most} bytes`);
    if (piece.length > 0) this.#pieces.push(piece);
  }

  /** All of them as one text, and none left. */
  take(): string {
    const text = this.#pieces.length === 1 ? this.#pieces[0]!.toString() : Buffer.concat(this.#pieces).toString();
    this.#pieces = [];
    this.#size = 0;
    return text;
  }
}

/** The stream is not what it should be. */
export class SplitError extends Error {
  override readonly name = 'SplitError';
}

/** etcd keeps nothing longer than 1.5 MiB unless told to; the longest object that is put together here, in bytes. */
const longestObject = 8 << 20;

/** Takes chunks, gives the texts that end in them. */
export interface Splitter {
  /** @throws {SplitError} an object is too long, or is none */
  push(chunk: Buffer): Generator<string>;
}

export interface LineSplitter extends Splitter {
  /** Bytes of a line that has no end yet. */
  readonly left: number;
}

/** Lines, as a watch sends its events; empty ones are left out. */
export function lineSplitter(most: number = longestObject): LineSplitter {
  const pending = new Pieces(most);
  return {
    get left() {
      return pending.size;
    },
    *push(chunk) {
      let start = 0;
      for (let end = chunk.indexOf(0x0a); end >= 0; end = chunk.indexOf(0x0a, start)) {
        pending.add(chunk.subarray(start, end));
        start = end + 1;
        const line = pending.take();
        if (line.trim() !== '') yield line;
      }
      pending.add(chunk.subarray(start));
    },
  };
}

export interface ItemSplitter extends Splitter {
  /**
   * The list without its items: `{"metadata":{…},"items":[]}`.
   * @throws {SplitError} the list has not ended
   */
  end(): string;
}

const [quote, backslash, comma, openList, closeList, openMap, closeMap] = [0x22, 0x5c, 0x2c, 0x5b, 0x5d, 0x7b, 0x7d];
const isSpace = (byte: number): boolean => byte === 0x20 || (byte >= 0x09 && byte <= 0x0d);

/**
 * The items of a list such as PodList: the entries of the array that is the outermost object's own member. That works
 * for a list of any length in one body, which is how an API server answers from its watch cache, whatever the limit.
 */
export function itemSplitter(most: number = longestObject): ItemSplitter {
  const envelope = new Pieces(most);
  const item = new Pieces(most);
  let depth = 0;
  let inItems = false;
  let inString = false;
  let escaped = false;

  function* push(chunk: Buffer): Generator<string> {
    let from = 0;
    for (let at = 0; at < chunk.length; at++) {
      const byte = chunk[at]!;
      if (inString) {
        if (escaped) escaped = false;
        else if (byte === backslash) escaped = true;
        else if (byte === quote) inString = false;
      } else if (byte === openMap || byte === openList) {
        depth++;
        if (inItems && depth === 3) from = at;
        if (depth !== 2 || byte !== openList) continue;
        inItems = true;
        envelope.add(chunk.subarray(from, at + 1));
      } else if (byte === closeMap || byte === closeList) {
        depth--;
        if (!inItems || depth > 2) continue;
        if (depth === 2) {
          item.add(chunk.subarray(from, at + 1));
          yield item.take();
        } else {
          inItems = false;
          from = at;
        }
      } else if (inItems && depth === 2 && byte !== comma && !isSpace(byte))
        throw new SplitError('an item that is no object');
      else if (byte === quote) inString = true;
    }
    if (!inItems) envelope.add(chunk.subarray(from));
    else if (depth > 2) item.add(chunk.subarray(from));
  }

  return {
    push,
    end() {
      if (depth !== 0 || inString || envelope.size === 0) throw new SplitError('a list that ends in the middle');
      return envelope.take();
    },
  };
}
