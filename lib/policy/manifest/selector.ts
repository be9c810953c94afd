import type { LabelSelector, Requirement } from '../model/model.ts';
import { isLabelKey, isLabelValue } from '../model/name-syntax.ts';
import { complain, type Field, holdsOnly, isMapping, itemsOf, member, membersOf, shown, textOf } from './field.ts';

const keySyntax = 'a label key is 1 to 63 letters, digits, "-", "_" or ".", after "<DNS name>/" or not';
const valueSyntax = 'a label value is at most 63 letters, digits, "-", "_" or ".", with a letter or digit at both ends';

/** A valid label value; undefined, and reported, otherwise. */
export function labelValueOf(field: Field): string | undefined {
  const value = textOf(field, 'a label value');
  if (value === undefined || isLabelValue(value)) return value;
  return complain(field, `${shown(value)} is no label value: ${valueSyntax}`);
}

export function checkLabelKey(field: Field, key: string): boolean {
  if (isLabelKey(key)) return true;
  complain(field, `${shown(key)} is no label key: ${keySyntax}`);
  return false;
}

const operators: Readonly<Record<string, Requirement['operator']>> = {
  In: 'In',
  NotIn: 'NotIn',
  Exists: 'Exists',
  DoesNotExist: 'DoesNotExist',
};

function operatorOf(field: Field): Requirement['operator'] | undefined {
  const { value } = field;
  if (typeof value === 'string' && Object.hasOwn(operators, value)) return operators[value];
  return complain(field, `${shown(value)} is no operator: write In, NotIn, Exists or DoesNotExist`);
}

/** The items; undefined where one of them was invalid. */
function everyOne<T>(found: readonly (T | undefined)[]): readonly T[] | undefined {
  const valid = found.filter(item => item !== undefined);
  return valid.length === found.length ? valid : undefined;
}

function valuesOf(field: Field, operator: Requirement['operator']): readonly string[] | undefined {
  const items = itemsOf(field);
  if (!items) return undefined;
  const takesValues = operator === 'In' || operator === 'NotIn';
  if (takesValues && items.length === 0) return complain(field, `${operator} needs at least one value`);
  if (!takesValues && items.length > 0) return complain(field, `${operator} takes no values: leave them out`);
  return everyOne(items.map(labelValueOf));
}

function requirementOf(field: Field): Requirement | undefined {
  if (!holdsOnly(field, ['key', 'operator', 'values'], 'the selector is invalid')) return undefined;
  const keyField = member(field, 'key');
  const key = textOf(keyField, 'a label key');
  const hasKey = key !== undefined && checkLabelKey(keyField, key);
  const operator = operatorOf(member(field, 'operator'));
  const values = operator && valuesOf(member(field, 'values'), operator);
  return hasKey && operator && values ? { key, operator, values } : undefined;
}

function equalityOf([key, field]: readonly [string, Field]): Requirement | undefined {
  const isKey = checkLabelKey(field, key);
  const value = labelValueOf(field);
  return isKey && value !== undefined ? { key, operator: 'In', values: [value] } : undefined;
}

const known = ['matchLabels', 'matchExpressions'];

/** `{app: web}` in place of a selector is the mistake that would select everything if its fields were dropped. */
function looksLikeLabels({ value }: Field): boolean {
  if (!isMapping(value)) return false;
  const members = Object.entries(value);
  return members.length > 0 && members.every(([key, label]) => typeof label === 'string' && !known.includes(key));
}

/** The selector of a present field; undefined, and reported with what follows from it (`instead`), where it is invalid. */
export function selectorOf(field: Field, instead: string): LabelSelector | undefined {
  if (looksLikeLabels(field))
    return complain(field, `No selector, so ${instead}: write these labels under "matchLabels"`);
  if (!holdsOnly(field, known, instead)) return undefined;
  const equalities = membersOf(member(field, 'matchLabels'))?.map(equalityOf);
  const expressions = itemsOf(member(field, 'matchExpressions'))?.map(requirementOf);
  const requirements = equalities && expressions && everyOne([...equalities, ...expressions]);
  return requirements && { requirements };
}
