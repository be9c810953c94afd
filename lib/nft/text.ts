/**
 * Rules, tables and transactions as nft text: for logs, dry runs and goldens; `nft -f` accepts it.
 * nft's strings know no escape, so a double quote or a line break becomes a single quote or a space.
 */

import { formatAddress } from '../ip/address.ts';
import { keptComment } from './comment.ts';
import { formatDatum, formatKey } from './datatype.ts';
import type { Base, Element, Match, Nat, NatTarget, NftVerdict, Rule, Selector, Statement, Table } from './model.ts';
import { SELECTORS, typesOf } from './selector.ts';
import type { ChainDeclaration, Operation, SetDeclaration, Transaction } from './transaction.ts';

const quote = (text: string): string => `"${text.replaceAll('"', "'").replaceAll(/\p{Cc}/gu, ' ')}"`;

const quoteComment = (comment: string): string => `"${keptComment(comment)}"`;

const commentOf = (comment: string | undefined): string =>
  comment === undefined ? '' : ` comment ${quoteComment(comment)}`;

const formatVerdict = (verdict: NftVerdict): string =>
  'chain' in verdict ? `${verdict.kind} ${verdict.chain}` : verdict.kind;

const formatSelectors = (key: readonly Selector[]): string => key.join(' . ');

function formatMatch({ selector, mask, op, datum }: Match): string {
  const { type } = SELECTORS[selector];
  const value = formatDatum(type, datum);
  if (mask !== undefined) return `${selector} & ${hexadecimal(mask)} ${op} ${hexadecimal(datum)}`;
  if (op === 'any') return `${selector} ${value}`;
  // A type of bits reads a bare value as "any of them", so that equality must be said.
  if (op === '!=' || type === 'ct_state' || type === 'ct_status' || type === 'tcp_flag')
    return `${selector} ${op} ${value}`;
  return `${selector} ${value}`;
}

const hexadecimal = (datum: Match['datum']): string => (typeof datum === 'number' ? `0x${datum.toString(16)}` : '');

function formatNat({ kind, family, to }: Nat): string {
  const head = `${kind} ${family === 4 ? 'ip' : 'ip6'} to`;
  return `${head} ${formatTarget(family, to)}`;
}

function formatTarget(family: 4 | 6, to: NatTarget): string {
  if ('map' in to) return `${formatSelectors(to.key)} map @${to.map}`;
  const address = formatAddress(to.address);
  if (to.port === undefined) return address;
  return family === 4 ? `${address}:${to.port}` : `[${address}]:${to.port}`;
}

function formatStatement(statement: Statement): string {
  switch (statement.kind) {
    case 'match':
      return formatMatch(statement);
    case 'lookup': {
      const { key, op, set } = statement;
      const left = `${formatSelectors(key)}${op === '!=' ? ' !=' : ''}`;
      if (typeof set === 'string') return `${left} @${set}`;
      const types = typesOf(key);
      return `${left} { ${set.map(element => formatKey(types, element)).join(', ')} }`;
    }
    case 'vmap':
      return `${formatSelectors(statement.key)} vmap @${statement.map}`;
    case 'counter':
      return statement.name === undefined ? 'counter' : `counter name ${quote(statement.name)}`;
    case 'counter-map':
      return `counter name ${formatSelectors(statement.key)} map @${statement.map}`;
    case 'mark-map':
      return `meta mark set ${formatSelectors(statement.key)} map @${statement.map}`;
    case 'log': {
      const { prefix, group, snaplen, queueThreshold } = statement;
      return (
        `log${prefix ? ` prefix ${quote(prefix)}` : ''} group ${group}` +
        `${snaplen ? ` snaplen ${snaplen}` : ''}${queueThreshold ? ` queue-threshold ${queueThreshold}` : ''}`
      );
    }
    case 'limit':
      return `limit rate ${statement.rate}/${statement.per} burst ${statement.burst} packets`;
    case 'set-mark': {
      const { of, mark, mask } = statement;
      if (mask === undefined) return `${of} mark set ${hexadecimal(mark)}`;
      return `${of} mark set ${of} mark & ${hexadecimal(~mask >>> 0)} ^ ${hexadecimal((mark & mask) >>> 0)}`;
    }
    case 'reject':
      return statement.with === 'tcp reset' ? 'reject with tcp reset' : `reject with icmpx ${statement.with}`;
    case 'masquerade':
      return statement.fullyRandom ? 'masquerade fully-random' : 'masquerade';
    case 'dnat':
    case 'snat':
      return formatNat(statement);
    case 'notrack':
      return 'notrack';
    case 'foreign':
      return `# not written by tollgate: ${statement.expressions.replaceAll('\n', ' | ')}`;
    default:
      return formatVerdict(statement);
  }
}

export const formatRule = ({ statements, comment }: Rule): string =>
  `${statements.map(formatStatement).join(' ')}${commentOf(comment)}`;

function formatElement({ key: types, value: valueTypes }: SetDeclaration, element: Element): string {
  const { key, value, comment } = element;
  const left = `${formatKey(types, key)}${commentOf(comment)}`;
  if (value === undefined) return left;
  if ('kind' in value) return `${left} : ${formatVerdict(value)}`;
  if ('counter' in value) return `${left} : ${quote(value.counter)}`;
  return `${left} : ${typeof valueTypes === 'object' ? formatKey(valueTypes, value) : ''}`;
}

const formatBase = ({ type, hook, priority, policy }: Base): string =>
  `type ${type} hook ${hook} priority ${priority}; policy ${policy};`;

function formatType({ key, value }: SetDeclaration): string {
  const types = key.join(' . ');
  if (!value) return `type ${types}`;
  return `type ${types} : ${typeof value === 'string' ? value : value.join(' . ')}`;
}

const setWord = ({ value }: SetDeclaration): string => (value ? 'map' : 'set');

/** `table inet x { … }`, as `nft list table` lays it out. */
export function formatTable(table: Table): string {
  const lines: string[] = [`table ${table.family} ${table.name} {`];
  if (table.comment !== undefined) lines.push(`\tcomment ${quoteComment(table.comment)}`, '');
  for (const { name, comment } of table.counters)
    lines.push(`\tcounter ${name} {`, ...indented(commentLine(comment)), '\t}', '');
  for (const set of table.sets) {
    lines.push(`\t${setWord(set)} ${set.name} {`, `\t\t${formatType(set)}`);
    if (set.interval) lines.push('\t\tflags interval');
    lines.push(...indented(commentLine(set.comment)));
    const elements = set.elements.map(element => formatElement(set, element));
    if (elements.length > 0) lines.push(`\t\telements = { ${elements.join(',\n\t\t\t     ')} }`);
    lines.push('\t}', '');
  }
  for (const chain of table.chains) {
    lines.push(`\tchain ${chain.name} {`, ...indented(commentLine(chain.comment)));
    if (chain.base) lines.push(`\t\t${formatBase(chain.base)}`);
    lines.push(...chain.rules.map(rule => `\t\t${formatRule(rule)}`), '\t}', '');
  }
  if (lines.at(-1) === '') lines.pop();
  return `${lines.join('\n')}\n}\n`;
}

const commentLine = (comment: string | undefined): string[] =>
  comment === undefined ? [] : [`comment ${quoteComment(comment)}`];

const indented = (lines: readonly string[]): string[] => lines.map(line => `\t\t${line}`);

/** One command a line. The empty transaction is the empty text. */
export function formatTransaction({ family, table, operations }: Transaction): string {
  const place = `${family} ${table}`;
  return operations.map(operation => `${formatOperation(place, operation)}\n`).join('');
}

function formatOperation(place: string, operation: Operation): string {
  const { verb } = operation;
  const adds = verb === 'add' || verb === 'create';
  switch (operation.object) {
    case 'table': {
      const parts = adds && operation.comment !== undefined ? [`comment ${quoteComment(operation.comment)};`] : [];
      return `${verb} table ${place}${braced(parts)}`;
    }
    case 'chain':
      return `${verb} chain ${place} ${operation.chain.name}${adds ? chainBody(operation.chain) : ''}`;
    case 'rule':
      if (operation.verb === 'delete') return `delete rule ${place} ${operation.chain} handle ${operation.handle}`;
      return `add rule ${place} ${operation.chain} ${formatRule(operation.rule)}`;
    case 'set': {
      const { set } = operation;
      return `${verb} ${setWord(set)} ${place} ${set.name}${adds ? setBody(set) : ''}`;
    }
    case 'element': {
      const { set, elements } = operation;
      const bare = ({ key }: Element): Element => ({ key });
      const texts = elements.map(element => formatElement(set, adds ? element : bare(element)));
      return `${verb} element ${place} ${set.name} { ${texts.join(', ')} }`;
    }
    case 'counter': {
      const { name, comment } = operation.counter;
      const parts = adds && comment !== undefined ? [`comment ${quoteComment(comment)};`] : [];
      return `${verb} counter ${place} ${name}${braced(parts)}`;
    }
  }
}

const braced = (parts: readonly string[]): string => (parts.length > 0 ? ` { ${parts.join(' ')} }` : '');

function chainBody({ base, comment }: ChainDeclaration): string {
  const parts = [
    ...(base ? [formatBase(base)] : []),
    ...(comment === undefined ? [] : [`comment ${quoteComment(comment)};`]),
  ];
  return braced(parts);
}

function setBody(set: SetDeclaration): string {
  const { interval, comment } = set;
  const parts = [
    `${formatType(set)};`,
    ...(interval ? ['flags interval;'] : []),
    ...(comment === undefined ? [] : [`comment ${quoteComment(comment)};`]),
  ];
  return braced(parts);
}
