import { renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { stripVTControlCharacters, styleText } from 'node:util';
import { messageOf } from '../../cni/error.ts';
import { holderOf } from '../../kernel/nflog.ts';
import { command, type Exit, exit, outputOption, printJson, printPainted } from '../command.ts';
import { TestPod } from '../test-pod/pod-process.ts';
import { policies, Stage, type } from './stage.ts';

/** `nflogGroup`'s default. */
const DEFAULT_NFLOG_GROUP = 7467;
/** An answer comes on a busy machine, too; silence is not proven by waiting longer. */
const TIMEOUT_MS = { answer: 15_000, silence: 700 } as const;

const policy = `apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: web
  namespace: shop
spec:
  podSelector: { matchLabels: { app: web } }
  ingress:
    - from: [{ podSelector: { matchLabels: { app: frontend } } }]
      ports: [{ port: 80 }]
`;

const nextPolicy = policy.replace(
  'matchLabels: { app: frontend }',
  'matchExpressions: [{ key: app, operator: In, values: [frontend, stranger] }]',
);

interface Step {
  readonly title: string;
  readonly ok: boolean;
  readonly lines: readonly string[];
  readonly ms: number;
}

type Colour = Parameters<typeof styleText>[0];
/** Where stdout is no terminal, or NO_COLOR is set, there is none. */
const paint = (colour: Colour, text: string): string => styleText(colour, text, { stream: process.stdout });

/** Tells the steps as they happen, or all at the end as JSON. */
class Teller {
  readonly steps: Step[] = [];
  readonly #isJson: boolean;

  constructor(isJson: boolean) {
    this.#isJson = isJson;
  }

  #show(line: string): void {
    if (!this.#isJson) printPainted(line);
  }

  open(text: string): void {
    this.#show(`${paint('bold', 'tollgate demo')}\n${text}`);
  }

  /** @throws what `work` throws, once it is told */
  async step(title: string, work: (say: (line: string) => void) => Promise<void>): Promise<void> {
    const start = performance.now();
    const lines: string[] = [];
    this.#show(`\n${paint('bold', `${this.steps.length + 1}. ${title}`)}`);
    const say = (text: string) => {
      for (const line of text.trimEnd().split('\n')) {
        lines.push(stripVTControlCharacters(line));
        this.#show(`   ${line}`);
      }
    };
    let ok = false;
    try {
      await work(say);
      ok = true;
    } catch (error) {
      say(paint('red', messageOf(error)));
      throw error;
    } finally {
      this.steps.push({ title, ok, lines, ms: Math.round(performance.now() - start) });
    }
  }

  close(): Exit {
    const ok = this.steps.every(step => step.ok);
    if (this.#isJson) printJson({ ok, steps: this.steps });
    else
      printPainted(
        ok ? paint('green', '\nEverything went as it should.') : paint('red', '\nThe demonstration failed.'),
      );
    return ok ? exit.yes : exit.failed;
  }
}

const typed = (line: string): string => paint('cyan', `$ ${line}`);
const milliseconds = (ms: number): string => paint('dim', `${Math.round(ms)} ms`);

interface Cast {
  readonly web: TestPod;
  readonly frontend: TestPod;
  readonly stranger: TestPod;
}

/** @throws Error where what comes is not what is expected */
async function request(
  from: TestPod,
  to: TestPod,
  expected: 'answer' | 'silence',
  say: (line: string) => void,
): Promise<void> {
  for (const address of to.addresses) {
    const reply = await from.order({
      kind: 'ask',
      address,
      port: 80,
      timeoutMs: TIMEOUT_MS[expected],
    });
    const url = `http://${address.includes(':') ? `[${address}]` : address}`;
    const said =
      reply.kind === 'answer'
        ? paint('green', `answered: ${reply.text}`)
        : paint('yellow', `refused: ${reply.kind === 'silence' ? reply.why : ''}`);
    say(`${from.ref.padEnd(13)} -> ${to.ref}  ${url.padEnd(19)} ${said}`);
    if (reply.kind !== expected) throw new Error(`Expected ${expected} for ${from.ref} -> ${to.ref} at ${address}`);
  }
}

/** @throws Error after a minute */
async function until(what: string, condition: () => boolean): Promise<void> {
  const end = performance.now() + 60_000;
  while (!condition()) {
    if (performance.now() > end) throw new Error(`Waited in vain for ${what}`);
    await new Promise(resolve => setTimeout(resolve, 20));
  }
}

async function play(teller: Teller, stage: Stage, { web, frontend, stranger }: Cast): Promise<void> {
  const cast = [web, frontend, stranger];
  await teller.step('Three pods are plugged in, as a container runtime does it', async say => {
    for (const pod of cast) {
      const { ms } = await stage.call('ADD', pod);
      const labels = Object.entries(pod.labels).map(([key, value]) => `${key}=${value}`);
      say(
        `CNI ADD ${pod.ref.padEnd(13)} ${labels.join(',').padEnd(12)} ${pod.addresses.join(', ').padEnd(18)} ${milliseconds(ms)}`,
      );
    }
    await web.order({
      kind: 'serve',
      ports: [80],
      greeting: 'hello from shop/web',
      family: stage.families.includes(6) ? 6 : 4,
    });
  });
  await teller.step('No policy yet: everybody is answered', async say => {
    await request(frontend, web, 'answer', say);
    await request(stranger, web, 'answer', say);
  });
  await teller.step('Each interface carries its pod’s identity as a tag', async say => {
    say(typed('tollgate pods'));
    say(await type(['pods']));
  });
  await teller.step('A policy is dropped into the folder, and put into force', async say => {
    say(paint('dim', policy));
    writeFileSync(join(policies, 'web.yaml'), policy);
    say(typed('tollgate policy apply'));
    say(await type(['policy', 'apply']));
  });
  await teller.step('The same requests again: the stranger is refused, and the log says by which policy', async say => {
    const before = stage.dropped();
    await request(frontend, web, 'answer', say);
    const watched = type(['flows', '--denied', '--seconds', '3']);
    await until('the log to be read', () => holderOf(DEFAULT_NFLOG_GROUP) !== undefined);
    await request(stranger, web, 'silence', say);
    if (stage.dropped() === before) throw new Error('Expected the gate to have counted what it dropped');
    say(typed('tollgate flows --denied'));
    const flows = await watched;
    say(flows);
    if (!/shop\/stranger .* shop\/web .*NetworkPolicy\/shop\/web/.test(flows))
      throw new Error('Expected the log to name the policy that denied the request');
  });
  await teller.step('Why?', async say => {
    say(typed('tollgate policy explain --from shop/stranger --to shop/web --port 80/TCP'));
    say(await type(['policy', 'explain', '--from', 'shop/stranger', '--to', 'shop/web', '--port', '80/TCP'], exit.no));
  });
  await teller.step('What the policies mean, pod by pod', async say => {
    say(typed('tollgate policy matrix --port 80/TCP'));
    say(await type(['policy', 'matrix', '--port', '80/TCP']));
  });
  await teller.step('What would the next policy open? Asked first, then done', async say => {
    const next = join(policies, '..', 'next.yaml');
    writeFileSync(next, nextPolicy);
    say(typed('tollgate policy diff -f next.yaml'));
    say(await type(['policy', 'diff', '-f', next], exit.no));
    renameSync(next, join(policies, 'web.yaml'));
    say(typed('mv next.yaml policies/web.yaml; tollgate policy apply'));
    say(await type(['policy', 'apply']));
    await request(stranger, web, 'answer', say);
  });
  await teller.step('CHECK finds everything in place, DEL takes it away', async say => {
    for (const verb of ['CHECK', 'DEL'] as const)
      for (const pod of cast) {
        const { ms } = await stage.call(verb, pod);
        say(`CNI ${verb.padEnd(5)} ${pod.ref.padEnd(13)} ok  ${milliseconds(ms)}`);
      }
  });
  await teller.step('Nothing is left', async say => {
    const left = stage.leftovers();
    if (left.length > 0) throw new Error(`Expected nothing to be left, found ${left.join(', ')}`);
    say('No link, no table, no record, no address.');
  });
}

async function demonstrate(isJson: boolean): Promise<Exit> {
  if (process.getuid?.() !== 0)
    throw new Error('Cannot show anything: making network namespaces takes root, so run it with sudo');
  const stage = Stage.enter();
  const teller = new Teller(isJson);
  teller.open('On a node of its own: a network and files that end with this process. Your machine stays as it is.');
  using web = await TestPod.start('shop', 'web', { app: 'web' });
  using frontend = await TestPod.start('shop', 'frontend', { app: 'frontend' });
  using stranger = await TestPod.start('shop', 'stranger', { app: 'stranger' });
  try {
    await play(teller, stage, { web, frontend, stranger });
  } catch (error) {
    // Told already, as part of its step; a defect of ours is worth its stack trace.
    if (error instanceof TypeError || error instanceof RangeError) throw error;
  }
  return teller.close();
}

export const demo = command(
  'demo',
  'Show all of it: three pods, a policy, a request answered and then refused',
  parser =>
    parser
      .options({
        ...outputOption,
      })
      .example('sudo $0 demo', 'takes some seconds')
      .example('sudo $0 demo -o json', 'the steps as JSON')
      .epilog(
        'Needs root and nothing else. Everything happens in namespaces of the process itself, so nothing is left, however it ends. Exit code 0: every step went as it should.',
      ),
  async ({ output }) => {
    return await demonstrate(output === 'json');
  },
);
