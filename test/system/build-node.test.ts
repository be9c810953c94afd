/** The Node that is packed: what .build/node.mjs changes in the one from npm, and what it refuses to change. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { prepareNode } from '../../.build/node.mjs';

const official = readFileSync(process.execPath);
const prepared = prepareNode(official);

/** Offsets in the ELF header, and of the section that holds the names, which is the last one. */
const E_TYPE = 16;
const E_MACHINE = 18;
const E_SHOFF = 40;
const E_SHNUM = 60;
const EHDR_SIZE = 64;
const SHDR_SIZE = 64;
const SH_OFFSET = 24;

const sections = Number(prepared.readBigUInt64LE(E_SHOFF));
const loadedEnd = Number(prepared.readBigUInt64LE(prepared.length - SHDR_SIZE + SH_OFFSET));

test('what is never loaded is left out, which is a fifth of the file', () => {
  assert.ok(prepared.length < official.length * 0.8, `${prepared.length} of ${official.length} bytes`);
  assert.equal(sections + prepared.readUInt16LE(E_SHNUM) * SHDR_SIZE, prepared.length);
});

test('what is loaded changes by a few hundred bytes only', () => {
  let changed = 0;
  for (let at = EHDR_SIZE; at < loadedEnd; at++) if (prepared[at] !== official[at]) changed++;
  assert.ok(changed > 50 && changed < 400, `${changed} bytes changed`);
});

/** A copy of the official Node with one thing about it changed. */
function altered(change: (node: Buffer) => void): Buffer {
  const copy = Buffer.from(official);
  change(copy);
  return copy;
}

const refused: Record<string, { readonly node: () => Uint8Array; readonly message: RegExp }> = {
  'a Node that is prepared already': { node: () => prepared, message: /is not used just once/ },
  'a file that is no ELF file': { node: () => Buffer.from('#!/bin/sh\n'.repeat(100)), message: /not a little-endian/ },
  'a machine that it does not know': {
    node: () => altered(node => node.writeUInt16LE(243, E_MACHINE)),
    message: /unknown ELF machine 243/,
  },
  'an executable that may be loaded at any address': {
    node: () => altered(node => node.writeUInt16LE(3, E_TYPE)),
    message: /not linked at fixed addresses/,
  },
  'a Node without the function': {
    node: () => altered(node => node.write('x', node.indexOf('\0__atomic_compare_exchange\0') + 1)),
    message: /is not used just once/,
  },
};

if (process.arch === 'x64') {
  refused['a Node that calls the function with another size'] = {
    node: () =>
      altered(node => {
        const size8 = Buffer.from([0xbf, 8, 0, 0, 0]); // mov $8, %edi
        for (let at = node.indexOf(size8); at >= 0; at = node.indexOf(size8, at + 1)) node[at + 1] = 4;
      }),
    message: /called with a size other than 8/,
  };
  refused['a Node without room behind its linkage table'] = {
    node: () =>
      altered(node => {
        // lock cmpxchg %rcx, (%rsi); je +3: what was put there, and all zeros that are near.
        const code = prepared.indexOf(Buffer.from([0xf0, 0x48, 0x0f, 0xb1, 0x0e, 0x74, 0x03]));
        for (let at = code - 64; at < code + 65536; at++) if (node[at] === 0) node[at] = 0xcc;
      }),
    message: /no room behind the linkage table/,
  };
}

for (const [name, { node, message }] of Object.entries(refused)) {
  test(`it refuses ${name}`, () => assert.throws(() => prepareNode(node()), message));
}
