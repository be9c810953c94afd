/** The page of flows: an agent that records and serves it, and a browser that shows it. */
import { writeFileSync } from 'node:fs';
import { type Agent, command, denialsAreHeard, startAgent } from './agent-process.ts';
import { Browser } from './browser.ts';
import type { PolicyHost } from './policy-host.ts';
import { until } from './until.ts';

/** Where the agent serves the page. */
export const PLACE = '127.0.0.1:9468';

/** The folder for pictures that a person looks at; undefined where no person does. */
const pictures = process.env['TOLLGATE_PICTURES'];

export interface ServedPage {
  readonly agent: Agent;
  /** The page's address, with the token. */
  readonly link: string;
}

/** @param options of the agent, beside those that record flows and serve the page */
export async function servePage(host: PolicyHost, ...options: readonly string[]): Promise<ServedPage> {
  const agent = await startAgent(host.host, [...command, '--flows', '--ui', PLACE, ...options]);
  const link = await until('the page to be served', async () => {
    const { exit, stdout } = await host.type(['flows', '--open']);
    return exit === 0 ? stdout.trim() : undefined;
  });
  await denialsAreHeard(host.host);
  return { agent, link };
}

export class FlowPage implements AsyncDisposable {
  readonly browser: Browser;

  private constructor(browser: Browser) {
    this.browser = browser;
  }

  /** In light colours, as wide as a desk's screen. */
  static async open(host: PolicyHost, link: string): Promise<FlowPage> {
    const browser = await Browser.start(host.host.pid);
    await browser.size(1280, 800);
    await browser.colours('light');
    await browser.open(link);
    return new FlowPage(browser);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.browser[Symbol.asyncDispose]();
  }

  /** Text of the first such element; empty where there is none. */
  text(selector: string): Promise<string> {
    return this.browser.evaluate(`document.querySelector(${JSON.stringify(selector)})?.textContent ?? ''`);
  }

  texts(selector: string): Promise<readonly string[]> {
    const all = `document.querySelectorAll(${JSON.stringify(selector)})`;
    return this.browser.evaluate(`[...${all}].map(each => each.textContent)`);
  }

  count(selector: string): Promise<number> {
    return this.browser.evaluate(`document.querySelectorAll(${JSON.stringify(selector)}).length`);
  }

  click(selector: string): Promise<void> {
    return this.browser.evaluate(`document.querySelector(${JSON.stringify(selector)}).click()`);
  }

  focus(id: string): Promise<void> {
    return this.browser.evaluate(`document.getElementById('${id}').focus()`);
  }

  /** Gives a field a value, as one who types or chooses it does. */
  async fill(id: string, value: string, event: 'input' | 'change'): Promise<void> {
    await this.browser.evaluate(`{ const field = document.getElementById('${id}'); field.value = ${JSON.stringify(value)};
      field.dispatchEvent(new Event('${event}', { bubbles: true })); }`);
  }

  filterBy(words: string): Promise<void> {
    return this.fill('filter', words, 'input');
  }

  /** Rows of the table, in sight or not. */
  rows(): Promise<number> {
    return this.browser.evaluate(`Number(document.getElementById('grid')?.getAttribute('aria-rowcount'))`);
  }

  async picture(name: string): Promise<void> {
    if (pictures) writeFileSync(`${pictures}/${name}.png`, await this.browser.screenshot());
  }
}
