/** Makes queries to the kernel: bodies of GET messages, struct nfgenmsg included. */

import { keyLength } from './datatype.ts';
import { writeElement } from './encode-set.ts';
import { OBJECT_COUNTER } from './expression.ts';
import type { Key, TableFamily } from './model.ts';
import { readMessage } from './reader.ts';
import type { SetDeclaration } from './transaction.ts';
import {
  messageType,
  NFT_MSG,
  NFTA_CHAIN,
  NFTA_GEN_ID,
  NFTA_OBJ,
  NFTA_RULE,
  NFTA_SET,
  NFTA_SET_ELEM_LIST,
  NFTA_TABLE,
  names,
  TABLE_FAMILIES,
} from './wire.ts';
import { NftWriter } from './writer.ts';

export interface Query {
  /** Finishes the sentence "Cannot …". */
  readonly operation: string;
  readonly type: number;
  /** Many answers, from a dump. */
  readonly dump: boolean;
  readonly body: Uint8Array;
}

/** Family and name of a table. */
export interface TableName {
  readonly family: TableFamily;
  readonly name: string;
}

function query(
  operation: string,
  message: number,
  dump: boolean,
  family: number,
  write: (out: NftWriter) => void,
): Query {
  const out = new NftWriter(128);
  out.nfgenmsg(family);
  write(out);
  return { operation, type: messageType(message), dump, body: out.finish() };
}

const place = ({ family, name }: TableName): string => `table ${family} ${name}`;

export const askGeneration = (): Query =>
  query('read the generation of the ruleset', NFT_MSG.GETGEN, false, 0, () => {});

export const askTable = (table: TableName): Query =>
  query(`read ${place(table)}`, NFT_MSG.GETTABLE, false, TABLE_FAMILIES[table.family], out =>
    out.text(NFTA_TABLE.NAME, table.name),
  );

export const askChains = (table: TableName): Query =>
  query(`read the chains of ${place(table)}`, NFT_MSG.GETCHAIN, true, TABLE_FAMILIES[table.family], out =>
    out.text(NFTA_CHAIN.TABLE, table.name),
  );

/** Query for the chains of every table of every family. */
export const askAllChains = (): Query => query('list the chains', NFT_MSG.GETCHAIN, true, 0, () => {});

/** Query for the rules of one chain; older kernels send those of the whole table. */
export const askRulesOf = (table: TableName, chain: string): Query =>
  query(
    `read the rules of chain ${chain} of ${place(table)}`,
    NFT_MSG.GETRULE,
    true,
    TABLE_FAMILIES[table.family],
    out => {
      out.text(NFTA_RULE.TABLE, table.name);
      out.text(NFTA_RULE.CHAIN, chain);
    },
  );

export const askRules = (table: TableName): Query =>
  query(`read the rules of ${place(table)}`, NFT_MSG.GETRULE, true, TABLE_FAMILIES[table.family], out =>
    out.text(NFTA_RULE.TABLE, table.name),
  );

export const askSets = (table: TableName): Query =>
  query(`read the sets of ${place(table)}`, NFT_MSG.GETSET, true, TABLE_FAMILIES[table.family], out =>
    out.text(NFTA_SET.TABLE, table.name),
  );

export const askSet = (table: TableName, set: string): Query =>
  query(`read set ${set} of ${place(table)}`, NFT_MSG.GETSET, false, TABLE_FAMILIES[table.family], out => {
    out.text(NFTA_SET.TABLE, table.name);
    out.text(NFTA_SET.NAME, set);
  });

export const askCounters = (table: TableName): Query =>
  query(`read the counters of ${place(table)}`, NFT_MSG.GETOBJ, true, TABLE_FAMILIES[table.family], out => {
    out.text(NFTA_OBJ.TABLE, table.name);
    out.be32(NFTA_OBJ.TYPE, OBJECT_COUNTER);
  });

export const askElements = (table: TableName, set: string): Query =>
  query(
    `read the elements of ${set} of ${place(table)}`,
    NFT_MSG.GETSETELEM,
    true,
    TABLE_FAMILIES[table.family],
    out => {
      out.text(NFTA_SET_ELEM_LIST.TABLE, table.name);
      out.text(NFTA_SET_ELEM_LIST.SET, set);
    },
  );

/** One element by its key; the kernel looks it up, however many there are. */
export const askElement = (table: TableName, set: SetDeclaration, key: Key): Query =>
  query(
    `read one element of ${set.name} of ${place(table)}`,
    NFT_MSG.GETSETELEM,
    false,
    TABLE_FAMILIES[table.family],
    out => {
      out.text(NFTA_SET_ELEM_LIST.TABLE, table.name);
      out.text(NFTA_SET_ELEM_LIST.SET, set.name);
      const list = out.open(NFTA_SET_ELEM_LIST.ELEMENTS);
      writeElement(out, set, { key }, keyLength(set.key), true);
      out.close(list);
    },
  );

/** Attribute 1 of every object's message is the table that it is in. */
export const tableNameIn = (body: Uint8Array): string | undefined =>
  readMessage(body, names.chain, chain => chain.text(NFTA_CHAIN.TABLE));

export const setNameIn = (body: Uint8Array): string | undefined =>
  readMessage(body, names.set, set => set.text(NFTA_SET.NAME));

/** How many elements a set has, from NFT_MSG_NEWSET; undefined where the kernel does not tell (before 6.16). */
export const setSizeIn = (body: Uint8Array): number | undefined =>
  readMessage(body, names.set, set => set.number(NFTA_SET.COUNT));

/** The count of commits in the network namespace, by all programs; from NFT_MSG_NEWGEN. */
export const generationIn = (body: Uint8Array): number =>
  readMessage(body, names.generation, generation => generation.be32(NFTA_GEN_ID)) ?? 0;
