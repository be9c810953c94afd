/** The page's requests to the agent. They carry the token of the page's own address, which no other page can read. */
import type { Entry, LiveMessage } from '../../../flows/model.ts';

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

/** The agent's own words of why it does not answer. */
export class ApiRefusal extends Error {}

export class Api {
  readonly #token: string;

  constructor(token: string) {
    this.#token = token;
  }

  async #get(path: string, signal?: AbortSignal): Promise<Response> {
    const headers = { authorization: `Bearer ${this.#token}` };
    const response = await fetch(path, { headers, ...(signal ? { signal } : {}) });
    if (!response.ok) throw new ApiRefusal((await response.text()).trim());
    return response;
  }

  async json<T>(path: string): Promise<T> {
    return (await (await this.#get(path)).json()) as T;
  }

  /** Lines of JSON, as they come. */
  async *lines(path: string, signal: AbortSignal): AsyncGenerator<readonly Entry[]> {
    for await (const lines of parts(await this.#get(path, signal), '\n'))
      yield lines.map(line => JSON.parse(line) as Entry);
  }

  /**
   * Flows from the moment on at which this resolves, until the signal or the agent's end. While the page does not read, the
   * agent leaves changes out, and says how many.
   */
  async live(filter: string, signal: AbortSignal): Promise<AsyncIterable<LiveMessage>> {
    const response = await this.#get(`/flows/live?${new URLSearchParams({ filter })}`, signal);
    return (async function* () {
      for await (const messages of parts(response, '\n\n'))
        for (const message of messages) yield JSON.parse(message.replace(/^data: /, '')) as LiveMessage;
    })();
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
