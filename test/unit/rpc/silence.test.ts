/** When a caller gives up a process that it hears nothing of: a process that lives is waited for, however long it takes. */
import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { Silence } from '../../../lib/rpc/silence.ts';

interface Row {
  /** As `ProcessActivity`; empty: not seen. */
  readonly state: string;
  readonly isActive?: boolean;
  readonly isHeard?: boolean;
  /** Seconds after which it is given up; Infinity: not within an hour. */
  readonly gaveUp: number;
  readonly said?: RegExp;
}

const rows: Readonly<Record<string, Row>> = {
  'a stopped process': { state: 'T', gaveUp: 5, said: /process 7 stands still: it is stopped; .*`kill -CONT 7`/ },
  'a process that a debugger stopped': { state: 't', gaveUp: 5, said: /process 7 stands still: it is stopped/ },
  'one that sleeps and says nothing': { state: 'S', gaveUp: 5, said: /no sign of life for 5 s; start it again/ },
  'one that the kernel holds up': { state: 'D', gaveUp: 30, said: /in the kernel for 30 s; \/proc\/7\/stack/ },
  'one that cannot be seen': { state: '', gaveUp: 60, said: /^it has given no sign of life for 60 s/ },
  'one that computes': { state: 'R', isActive: true, gaveUp: Number.POSITIVE_INFINITY },
  'one that has computed meanwhile': { state: 'S', isActive: true, gaveUp: Number.POSITIVE_INFINITY },
  'one that says that it is at work': { state: 'S', isHeard: true, gaveUp: Number.POSITIVE_INFINITY },
  'one that is held up, and says so': { state: 'D', isHeard: true, gaveUp: Number.POSITIVE_INFINITY },
};

const LOOK = 500;

suite('a process is given up', () => {
  for (const [name, { state, isActive = false, isHeard = false, gaveUp, said }] of Object.entries(rows))
    test(`${name}: ${Number.isFinite(gaveUp) ? `after ${gaveUp} s` : 'never'}`, () => {
      const silence = new Silence(() => ({ pid: state === '' ? 0 : 7, state, isActive }));
      for (let passed = LOOK; passed <= 3_600_000; passed += LOOK) {
        const why = silence.after(LOOK, isHeard);
        if (!why) continue;
        assert.equal(passed / 1000, gaveUp);
        assert.match(`${why.message}; ${why.advice}`, said!);
        return;
      }
      assert.equal(gaveUp, Number.POSITIVE_INFINITY);
    });

  test('silence begins anew with each sign of life', () => {
    let isActive = false;
    const silence = new Silence(() => ({ pid: 7, state: 'S', isActive }));
    for (let look = 1; look < 100; look++) {
      isActive = look % 10 === 0;
      assert.equal(silence.after(LOOK, look % 10 === 5), undefined);
    }
  });
});
