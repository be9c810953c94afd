/**
 * Tells what another program's base chain does with a packet that our pods send or get, as far as its rules can be read: enough
 * to tell an admin which of its lines drops the packet. A rule with a condition that we cannot judge counts as not applying.
 */
import type { Base, Match, Rule, Statement, TableFamily } from './model.ts';
import { CT_STATE } from './statements.ts';

/** A base chain of whatever table. */
export interface BaseChain {
  readonly family: TableFamily;
  readonly table: string;
  readonly name: string;
  readonly base: Base;
}

/** The first packet of a connection. */
export interface ForwardedPacket {
  readonly iifname: string;
  readonly oifname: string;
}

type Outcome = 'accepted' | 'dropped' | 'returned';

/** A chain that jumps in circles is refused by the kernel; this bounds what we make of one that changes meanwhile. */
const DEEPEST = 16;

function sameName(pattern: string, name: string): boolean {
  return pattern.endsWith('*') ? name.startsWith(pattern.slice(0, -1)) : pattern === name;
}

/** Undefined: who knows. */
function matches({ selector, op, datum }: Match, { iifname, oifname }: ForwardedPacket): boolean | undefined {
  if ((selector === 'meta iifname' || selector === 'meta oifname') && typeof datum === 'string') {
    const is = sameName(datum, selector === 'meta iifname' ? iifname : oifname);
    return op === '!=' ? !is : is;
  }
  if (selector === 'ct state' && op === 'any' && typeof datum === 'number') return (datum & CT_STATE.new) !== 0;
  return undefined;
}

/** `REJECT` as iptables-nft sends it: an xtables target, with a condition only if something else stands beside it. */
function isBareReject(expressions: string): boolean {
  const lines = expressions.split('\n').filter(line => line !== '' && !line.includes('name="counter"'));
  const [only] = lines;
  return lines.length === 1 && only!.includes('kernel="target"') && only!.includes('52454a454354');
}

const harmless = new Set<Statement['kind']>(['counter', 'log', 'set-mark', 'notrack']);

class Walk {
  readonly #rulesOf: (chain: string) => readonly Rule[];
  readonly #packet: ForwardedPacket;

  constructor(rulesOf: (chain: string) => readonly Rule[], packet: ForwardedPacket) {
    this.#rulesOf = rulesOf;
    this.#packet = packet;
  }

  chain(name: string, depth = 0): Outcome {
    if (depth > DEEPEST) return 'returned';
    for (const rule of this.#rulesOf(name)) {
      const outcome = this.#rule(rule, depth);
      if (outcome) return outcome;
    }
    return 'returned';
  }

  /** Undefined: the next rule has its say. */
  #rule({ statements }: Rule, depth: number): Outcome | undefined {
    for (const statement of statements) {
      if (statement.kind === 'match') {
        if (matches(statement, this.#packet) !== true) return undefined;
        continue;
      }
      if (harmless.has(statement.kind)) continue;
      return this.#verdict(statement, depth);
    }
    return undefined;
  }

  #verdict(statement: Statement, depth: number): Outcome | undefined {
    switch (statement.kind) {
      case 'accept':
        return 'accepted';
      case 'drop':
      case 'reject':
        return 'dropped';
      case 'return':
        return 'returned';
      case 'goto':
        return this.chain(statement.chain, depth + 1);
      case 'jump': {
        const outcome = this.chain(statement.chain, depth + 1);
        return outcome === 'returned' ? undefined : outcome;
      }
      case 'foreign':
        return isBareReject(statement.expressions) ? 'dropped' : undefined;
      default:
        return undefined;
    }
  }
}

/** Whether the chain drops the packet, by its rules or by its policy. */
export function drops(
  { name, base }: BaseChain,
  rulesOf: (chain: string) => readonly Rule[],
  packet: ForwardedPacket,
): boolean {
  const outcome = new Walk(rulesOf, packet).chain(name);
  return outcome === 'dropped' || (outcome === 'returned' && base.policy === 'drop');
}
