/**
 * The page's requests to the agent. They carry the token of the page's own address, which no other page can read. An agent
 * that is away, or does not record yet, is asked again until it answers.
 */
import type { LiveMessage } from '../../../flows/model.ts';
import { BackOff } from './back-off.ts';

/** `http://127.0.0.1:9468/#TOKEN`; kept for as long as the tab is, so that the address can be shared without it. */
export function takeToken(): string {
  const given = location.hash.slice(1);
  if (given !== '') {
    try {
      sessionStorage.setItem('token', given);
    } catch {}
    history.replaceState(null, '', location.pathname);
    return given;
  }
  try {
    return sessionStorage.getItem('token') ?? '';
  } catch {
    return '';
  }
}

/** The agent's own words of why it does not answer, nor will if it is asked again. */
export class ApiRefusal extends Error {}

/** As `ApiRefusal`, but later it will. */
class NotYet extends Error {}

/** Milliseconds; a live answer has a sign of life every second. */
const SILENCE = 30_000;

/** Cuts off an answer that has shown no sign of life for a while. */
class Silence {
  readonly #cut = new AbortController();
  readonly signal: AbortSignal;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(signal: AbortSignal) {
    this.signal = AbortSignal.any([signal, this.#cut.signal]);
    this.broken();
  }

  broken(): void {
    this.over();
    this.#timer = setTimeout(() => this.#cut.abort(), SILENCE);
  }

  over(): void {
    clearTimeout(this.#timer);
  }
}

const bytesOf = (text: string): Uint8Array<ArrayBuffer> => new TextEncoder().encode(text);

/** As the agent proves that it knows the token: HMAC-SHA256 of the nonce, in hex. */
async function proofOf(token: string, nonce: string): Promise<string> {
  const key = await crypto.subtle.importKey('raw', bytesOf(token), { name: 'HMAC', hash: 'SHA-256' }, false, ['sign']);
  const signed = new Uint8Array(await crypto.subtle.sign('HMAC', key, bytesOf(nonce)));
  return [...signed].map(byte => byte.toString(16).padStart(2, '0')).join('');
}

export class Api {
  readonly #token: string;
  readonly #waits: (why: string) => void;
  /** Whether it is an agent that listens at the page's address: the page itself came from one. */
  #isAgent = true;

  /** @param waits told each time that the agent does not answer and is going to be asked again */
  constructor(token: string, waits: (why: string) => void) {
    this.#token = token;
    this.#waits = waits;
  }

  /** While the agent is away any program of its node may listen there, which is not to be sent the token. */
  async #meet(signal: AbortSignal): Promise<void> {
    // Where a browser has no cryptography for the page, the token goes over the network in the clear anyway.
    if (this.#isAgent || !isSecureContext) return;
    const nonce = crypto.randomUUID();
    const proof = await (await fetch(`/proof?nonce=${nonce}`, { signal })).text();
    if (proof !== (await proofOf(this.#token, nonce)))
      throw new NotYet('Another program answers in place of the agent');
    this.#isAgent = true;
  }

  async #answer(path: string, signal: AbortSignal): Promise<Response> {
    await this.#meet(signal);
    const response = await fetch(path, { headers: { authorization: `Bearer ${this.#token}` }, signal });
    if (response.ok) return response;
    const why = (await response.text()).trim();
    throw response.status === 503 ? new NotYet(why) : new ApiRefusal(why);
  }

  /** Asks until there is an answer. @throws ApiRefusal; the signal's reason */
  async #until<T>(signal: AbortSignal, ask: () => Promise<T>): Promise<T> {
    for (const backOff = new BackOff(); ; ) {
      try {
        return await ask();
      } catch (error) {
        if (signal.aborted || error instanceof ApiRefusal) throw error;
        const isCut = !(error instanceof NotYet);
        if (isCut) this.#isAgent = false;
        this.#waits(isCut ? 'Cut off from the agent' : error.message);
        await backOff.rest(signal);
      }
    }
  }

  /** @throws ApiRefusal; the signal's reason */
  json<T>(path: string, signal: AbortSignal): Promise<T> {
    return this.#until(signal, async () => {
      const silence = new Silence(signal);
      try {
        return (await (await this.#answer(path, silence.signal)).json()) as T;
      } finally {
        silence.over();
      }
    });
  }

  /**
   * The newest flows that pass, and then what comes, until the agent's end or its silence. While the page does not read, the
   * agent leaves changes out, and says how many.
   * @throws ApiRefusal; the signal's reason; TypeError the connection is cut
   */
  async *live(filter: string, last: number, signal: AbortSignal): AsyncGenerator<LiveMessage> {
    const path = `/flows/live?${new URLSearchParams({ filter, last: String(last) })}`;
    const { silence, response } = await this.#until(signal, async () => {
      const begun = new Silence(signal);
      return { silence: begun, response: await this.#answer(path, begun.signal) };
    });
    try {
      for await (const messages of parts(response, '\n\n')) {
        silence.broken();
        for (const message of messages) yield JSON.parse(message.replace(/^data: /, '')) as LiveMessage;
      }
    } finally {
      silence.over();
      if (!signal.aborted) this.#isAgent = false;
    }
  }
}

/** What a body has in front of each separator, as it comes: what one reading brought stands together. */
async function* parts({ body }: Response, separator: string): AsyncGenerator<readonly string[]> {
  const reader = body!.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const whole = (rest + value).split(separator);
    rest = whole.pop() ?? '';
    yield whole;
  }
}
