/**
 * The kernel's expressions → statements. Each result has been compiled again to the very same list. Where that fails, another
 * program wrote the rule, and the rule stays `foreign`.
 */

import { compile, LIMIT_UNITS, REJECTS } from './compile.ts';
import { datumFromBytes } from './datatype.ts';
import { type ExpressionReading, type Found, isLoad, numberFrom, readLoads, rely } from './decompile-load.ts';
import { type Expression, expressionsId, NAT_RANDOM_FULLY, VERDICT } from './expression.ts';
import type { Limit, NftVerdict, Reject, Statement, TableFamily } from './model.ts';
import { NFPROTO } from './selector.ts';

const TABLE_NFPROTO = { inet: undefined, ip: { value: NFPROTO.ipv4 }, ip6: { value: NFPROTO.ipv6 } } as const;

export function decompile(family: TableFamily, expressions: readonly Expression[]): readonly Statement[] {
  const id = expressionsId(expressions);
  const same = (statements: readonly Statement[]) => compiledId(family, statements) === id;
  const found = read(family, expressions);
  if (found) {
    const short = found.filter(({ condition }) => condition !== 'yes').map(({ statement }) => statement);
    if (same(short)) return short;
    const whole = found.map(({ statement }) => statement);
    if (same(whole)) return whole;
  }
  return [{ kind: 'foreign', expressions: id }];
}

/** Undefined where a datum does not fit, which only happens for a rule of another program. */
function compiledId(family: TableFamily, statements: readonly Statement[]): string | undefined {
  try {
    return expressionsId(compile(family, statements));
  } catch (error) {
    if (error instanceof RangeError) return undefined;
    throw error;
  }
}

/** Undefined where an expression makes no sense to us, or a datum does not. */
function read(family: TableFamily, expressions: readonly Expression[]): readonly Found[] | undefined {
  const reading: ExpressionReading = {
    expressions,
    at: 0,
    found: [],
    nfproto: TABLE_NFPROTO[family],
    l4proto: undefined,
  };
  while (reading.at < expressions.length) {
    const statement = readStatement(reading);
    if (!statement) return undefined;
    const found: Found = { statement, condition: 'no' };
    reading.found.push(found);
    if (statement.kind !== 'match' || statement.op !== '==' || statement.mask !== undefined) continue;
    if (typeof statement.datum !== 'number') continue;
    if (statement.selector === 'meta nfproto') reading.nfproto = { value: statement.datum, from: found };
    if (statement.selector === 'meta l4proto') reading.l4proto = { value: statement.datum, from: found };
    if (statement.selector === 'meta nfproto' || statement.selector === 'meta l4proto') found.condition = 'maybe';
  }
  return reading.found;
}

function readStatement(reading: ExpressionReading): Statement | undefined {
  const first = reading.expressions[reading.at];
  if (isLoad(first)) return readLoads(reading);
  reading.at++;
  switch (first?.name) {
    case 'verdict':
      return verdictOf(first);
    case 'counter':
      return { kind: 'counter' };
    case 'objref':
      return { kind: 'counter', name: first.object };
    case 'log': {
      const { name: _, ...rest } = first;
      return { kind: 'log', ...rest };
    }
    case 'limit': {
      const per = (Object.keys(LIMIT_UNITS) as Limit['per'][]).find(unit => LIMIT_UNITS[unit] === first.unit);
      return per && { kind: 'limit', rate: first.rate, per, burst: first.burst };
    }
    case 'reject':
      return readReject(reading, first);
    case 'masq':
      return first.flags === NAT_RANDOM_FULLY ? { kind: 'masquerade', fullyRandom: true } : { kind: 'masquerade' };
    case 'notrack':
      return { kind: 'notrack' };
    case 'immediate':
      return readImmediate(reading, first.data);
    default:
      return undefined;
  }
}

const VERDICTS: readonly (readonly [number, 'accept' | 'drop' | 'return'])[] = [
  [VERDICT.accept, 'accept'],
  [VERDICT.drop, 'drop'],
  [VERDICT.return, 'return'],
];

export function verdictOf({ code, chain }: { code: number; chain?: string }): NftVerdict | undefined {
  if (chain !== undefined) {
    if (code === VERDICT.jump) return { kind: 'jump', chain };
    return code === VERDICT.goto ? { kind: 'goto', chain } : undefined;
  }
  const kind = VERDICTS.find(([number]) => number === code)?.[1];
  return kind && { kind };
}

function readReject(
  reading: ExpressionReading,
  { type, code }: Expression & { name: 'reject' },
): Statement | undefined {
  const names = Object.keys(REJECTS) as Reject['with'][];
  const name = names.find(with_ => REJECTS[with_].type === type && REJECTS[with_].code === code);
  if (name === 'tcp reset') rely(reading, { l4proto: 6 });
  return name && { kind: 'reject', with: name };
}

/** A constant in register 1: for a mark, or for NAT, which may have a port in register 2. */
function readImmediate(reading: ExpressionReading, data: Uint8Array): Statement | undefined {
  const next = reading.expressions[reading.at++];
  if (next?.name === 'meta-set') return { kind: 'set-mark', of: 'meta', mark: numberFrom('meta mark', data) };
  if (next?.name === 'ct-set') return { kind: 'set-mark', of: 'ct', mark: numberFrom('ct mark', data) };
  const nat = next?.name === 'immediate' ? reading.expressions[reading.at++] : next;
  if (nat?.name !== 'nat') return undefined;
  const family = nat.family === NFPROTO.ipv4 ? 4 : 6;
  const address = datumFromBytes(family === 4 ? 'ipv4_addr' : 'ipv6_addr', data);
  if (typeof address !== 'object' || !('value' in address)) return undefined;
  const port = next?.name === 'immediate' ? datumFromBytes('inet_service', next.data) : undefined;
  return {
    kind: nat.type === 0 ? 'snat' : 'dnat',
    family,
    to: typeof port === 'number' ? { address, port } : { address },
  };
}
