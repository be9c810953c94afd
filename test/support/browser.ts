/** Debian's Chromium without a window and without a network, spoken to over a pipe (Chrome DevTools Protocol). */
import { type ChildProcess, spawn } from 'node:child_process';
import { rmSync } from 'node:fs';
import type { Readable, Writable } from 'node:stream';
import { scratchFolder } from './scratch.ts';
import { until } from './until.ts';

type Json = Readonly<Record<string, unknown>>;

interface Message {
  readonly id?: number;
  readonly method?: string;
  readonly params?: Json;
  readonly result?: Json;
  readonly error?: { readonly message: string };
}

interface Waiting {
  readonly resolve: (result: Json) => void;
  readonly reject: (error: Error) => void;
}

/** One page of a browser of its own; it ends with the test at the latest. */
export class Browser implements AsyncDisposable {
  readonly #process: ChildProcess;
  readonly #folder: string;
  readonly #waiting = new Map<number, Waiting>();
  readonly #events: Message[] = [];
  #session: string | undefined;
  #next = 0;

  /** @param network a process in whose network namespace it runs; else in one of its own, with nothing in it */
  static async start(network?: number): Promise<Browser> {
    const browser = new Browser(network);
    const { targetInfos } = (await browser.send('Target.getTargets')) as {
      targetInfos: { targetId: string; type: string }[];
    };
    const target = targetInfos.find(({ type }) => type === 'page');
    const targetId =
      target?.targetId ?? (await browser.send('Target.createTarget', { url: 'about:blank' }))['targetId'];
    const { sessionId } = await browser.send('Target.attachToTarget', { targetId, flatten: true });
    browser.#session = String(sessionId);
    for (const domain of ['Page', 'Runtime', 'Log', 'Network', 'Accessibility']) await browser.send(`${domain}.enable`);
    await browser.send('Page.setLifecycleEventsEnabled', { enabled: true });
    return browser;
  }

  private constructor(network: number | undefined) {
    this.#folder = scratchFolder('browser');
    const chromium = [
      ...['chromium', '--headless=new', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--no-first-run'],
      ...['--disable-background-networking', '--disable-component-update', '--hide-scrollbars'],
      ...['--remote-debugging-pipe', `--user-data-dir=${this.#folder}`, 'about:blank'],
    ];
    // A network namespace of its own is one without even a loopback that is up.
    const enter = network === undefined ? ['unshare', '--net'] : ['nsenter', `--net=/proc/${network}/ns/net`];
    this.#process = spawn('setpriv', ['--pdeathsig', 'KILL', ...enter, ...chromium], {
      stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'],
    });
    // Before its folder goes.
    process.prependOnceListener('exit', () => this.#process.kill('SIGKILL'));
    let rest = '';
    (this.#process.stdio[4] as Readable).setEncoding('utf8').on('data', (chunk: string) => {
      const messages = (rest + chunk).split('\0');
      rest = messages.pop() ?? '';
      for (const message of messages) this.#take(JSON.parse(message) as Message);
    });
    this.#process.on('exit', () => {
      for (const { reject } of this.#waiting.values()) reject(new Error('Cannot go on: Chromium has ended'));
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const ended = new Promise(resolve => this.#process.once('exit', resolve));
    this.send('Browser.close').catch(() => {});
    await ended;
    rmSync(this.#folder, { recursive: true, force: true, maxRetries: 10 });
  }

  #take(message: Message): void {
    if (message.id === undefined) {
      this.#events.push(message);
      return;
    }
    const waiting = this.#waiting.get(message.id);
    this.#waiting.delete(message.id);
    if (message.error) waiting?.reject(new Error(message.error.message));
    else waiting?.resolve(message.result ?? {});
  }

  /** Asks the page, once there is one; before that, the browser. */
  send(method: string, params: Json = {}): Promise<Json> {
    return this.#ask(method, params, this.#session === undefined ? {} : { sessionId: this.#session });
  }

  /** Asks the browser. */
  #ask(method: string, params: Json = {}, session: Json = {}): Promise<Json> {
    const id = ++this.#next;
    (this.#process.stdio[3] as Writable).write(`${JSON.stringify({ id, method, params, ...session })}\0`);
    return new Promise((resolve, reject) => this.#waiting.set(id, { resolve, reject }));
  }

  /** Of the processor, by all threads of the process that runs the page's script, lays it out and paints it. */
  async processorSeconds(): Promise<number> {
    const { processInfo } = (await this.#ask('SystemInfo.getProcessInfo')) as {
      processInfo: { type: string; cpuTime: number }[];
    };
    return processInfo.filter(({ type }) => type === 'renderer').reduce((sum, { cpuTime }) => sum + cpuTime, 0);
  }

  /** Events so far, of one kind. */
  events(method: string): readonly Json[] {
    return this.#events.filter(event => event.method === method).map(({ params = {} }) => params);
  }

  /** Resolves once this very document is loaded: events of the one before it may still be on their way. */
  async open(url: string): Promise<void> {
    const { loaderId, errorText } = await this.send('Page.navigate', { url });
    if (errorText !== undefined) throw new Error(`Cannot open ${url}: ${errorText}`);
    await until(`${url} to be loaded`, () =>
      this.events('Page.lifecycleEvent').some(event => event['loaderId'] === loaderId && event['name'] === 'load'),
    );
  }

  /** Opens the page that is open once more; what it keeps for its tab stays. */
  async openAgain(): Promise<void> {
    await this.open(await this.evaluate<string>('location.href'));
  }

  /** The value of an expression in the page. @throws Error with what the page threw */
  async evaluate<T>(expression: string): Promise<T> {
    const { result, exceptionDetails } = (await this.send('Runtime.evaluate', {
      expression,
      returnByValue: true,
      awaitPromise: true,
    })) as { result: { value: T }; exceptionDetails?: { exception?: { description?: string }; text: string } };
    if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
    return result.value;
  }

  /** A key as a person presses it: `ArrowDown`, `n`, `Control+Home`. */
  async press(chord: string): Promise<void> {
    const [key = '', ...held] = chord.split('+').reverse();
    const modifiers = held.includes('Control') ? 2 : 0;
    const text = key.length === 1 && modifiers === 0 ? { text: key } : {};
    await this.send('Input.dispatchKeyEvent', { type: 'keyDown', key, modifiers, ...text });
    await this.send('Input.dispatchKeyEvent', { type: 'keyUp', key, modifiers });
  }

  async type(text: string): Promise<void> {
    for (const letter of text) await this.press(letter);
  }

  async click(x: number, y: number): Promise<void> {
    const at = { x, y, button: 'left', clickCount: 1 };
    await this.send('Input.dispatchMouseEvent', { type: 'mouseMoved', x, y });
    await this.send('Input.dispatchMouseEvent', { type: 'mousePressed', ...at });
    await this.send('Input.dispatchMouseEvent', { type: 'mouseReleased', ...at });
  }

  colours(scheme: 'light' | 'dark'): Promise<Json> {
    return this.send('Emulation.setEmulatedMedia', { features: [{ name: 'prefers-color-scheme', value: scheme }] });
  }

  size(width: number, height: number): Promise<Json> {
    return this.send('Emulation.setDeviceMetricsOverride', { width, height, deviceScaleFactor: 1, mobile: false });
  }

  /** A PNG of what is in sight. */
  async screenshot(): Promise<Buffer> {
    const { data } = await this.send('Page.captureScreenshot', { format: 'png' });
    return Buffer.from(String(data), 'base64');
  }

  /** Errors and warnings of the page's console, and the exceptions that it threw. */
  complaints(): readonly string[] {
    const thrown = this.events('Runtime.exceptionThrown').map(event => JSON.stringify(event));
    const logged = this.events('Log.entryAdded').map(event => JSON.stringify(event['entry']));
    const called = this.events('Runtime.consoleAPICalled').map(event => JSON.stringify(event['args']));
    return [...thrown, ...logged, ...called];
  }
}
