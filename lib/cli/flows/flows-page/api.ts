/** The page's requests to the agent. They carry the token of the page's own address, which no other page can read. */
import type { Entry } from '../../../flows/model.ts';

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

  async lines(path: string): Promise<readonly Entry[]> {
    const text = await (await this.#get(path)).text();
    return text
      .split('\n')
      .filter(line => line !== '')
      .map(line => JSON.parse(line) as Entry);
  }

  /** Follows flows from now on, until the signal or the agent's end. */
  async follow(
    filter: string,
    take: (message: { readonly entries: readonly Entry[]; readonly skipped: number }) => void,
    signal: AbortSignal,
  ): Promise<void> {
    const { body } = await this.#get(`/flows/live?${new URLSearchParams({ filter })}`, signal);
    const reader = body!.pipeThrough(new TextDecoderStream()).getReader();
    let rest = '';
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const messages = (rest + value).split('\n\n');
      rest = messages.pop() ?? '';
      for (const message of messages) take(JSON.parse(message.replace(/^data: /, '')));
    }
  }
}
