// @ts-check
/**
 * Makes the Node that is packed from the one that npm brings:
 *
 * - It needs no libatomic.so.1. Official Node wants that library, which no distribution installs by itself, for one
 *   function: `bool __atomic_compare_exchange(size_t size, void *ptr, void *expected, void *desired, int, int)`, called
 *   by V8 with size 8 only. Its stub in the procedure linkage table is made to jump to a few instructions of our own,
 *   put into the zero padding behind the table, and the library's name, version and relocation are taken out.
 * - The sections that are never loaded (symbols, debugging) are left out: 150 MB become 116 MB.
 *
 * Whatever is patched is verified first, and anything unexpected ends the build: another Node may be built otherwise.
 * Runs on any Node from 20 on, since the machine may lack libatomic and so be unable to run the one from npm.
 *
 * Usage: node node.mjs FROM TO
 *
 * @see System V gABI, chapters 4 and 5; "Symbol Versioning", Linux Standard Base core, 10.7
 */
import { chmodSync, readFileSync, writeFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import { arm64, x64 } from './machines.mjs';

const LIBRARY = 'libatomic.so.1';
const FUNCTION = '__atomic_compare_exchange';

const PT_LOAD = 1;
const PT_DYNAMIC = 2;
const PF_X = 1;
const SHT_NOBITS = 8;
const SHF_ALLOC = 2n;
const DT_NULL = 0n;
const DT_NEEDED = 1n;
const DT_PLTRELSZ = 2n;
const DT_STRTAB = 5n;
const DT_SYMTAB = 6n;
const DT_RELA = 7n;
const DT_RELASZ = 8n;
const DT_JMPREL = 23n;
const DT_VERSYM = 0x6ffffff0n;
const DT_VERNEED = 0x6ffffffen;
const DT_VERNEEDNUM = 0x6fffffffn;
const VER_NDX_GLOBAL = 1;
const DYN_SIZE = 16;
const RELA_SIZE = 24;
const SYM_SIZE = 24;
const PHDR_SIZE = 56;
const SHDR_SIZE = 64;

/** Length of a linkage table stub on both machines. */
const STUB_SIZE = 16;
/** Bytes before a call in which its first argument is set. Seen: 40 at most. */
const ARGUMENT_REACH = 64;

/** @type {(ok: unknown, what: string) => asserts ok} */
function expect(ok, what) {
  if (!ok) throw new Error(`Cannot prepare this Node: ${what}`);
}

/**
 * An ELF file for one of the machines, little-endian, 64 bit. Addresses are virtual, offsets are in the file.
 *
 * @param {Buffer} file
 */
function readElf(file) {
  expect(file.readUInt32BE(0) === 0x7f454c46 && file[4] === 2 && file[5] === 1, 'not a little-endian 64-bit ELF file');
  const machine = { 62: x64, 183: arm64 }[file.readUInt16LE(18)];
  expect(machine, `unknown ELF machine ${file.readUInt16LE(18)}`);
  expect(file.readUInt16LE(16) === 2, 'not linked at fixed addresses (ET_EXEC)');
  const phoff = Number(file.readBigUInt64LE(32));
  const segments = Array.from({ length: file.readUInt16LE(56) }, (_, i) => {
    const at = phoff + i * PHDR_SIZE;
    const [offset = 0, address = 0, , size = 0, , align = 0] = Array.from({ length: 6 }, (_, n) =>
      Number(file.readBigUInt64LE(at + 8 + n * 8)),
    );
    return { type: file.readUInt32LE(at), flags: file.readUInt32LE(at + 4), offset, address, size, align };
  });
  /** @param {number} address */
  const offsetOf = address => {
    const home = segments.find(s => s.type === PT_LOAD && address >= s.address && address < s.address + s.size);
    expect(home, `address 0x${address.toString(16)} is in no segment`);
    return address - home.address + home.offset;
  };
  const dynamic = segments.find(s => s.type === PT_DYNAMIC);
  expect(dynamic, 'no dynamic section');
  /** @param {bigint} tag */
  const dynamicAt = tag => {
    for (let at = dynamic.offset; at < dynamic.offset + dynamic.size; at += DYN_SIZE) {
      if (file.readBigInt64LE(at) === tag) return at;
    }
    throw new Error(`Cannot prepare this Node: no dynamic entry 0x${tag.toString(16)}`);
  };
  /** @param {bigint} tag */
  const dynamicValue = tag => Number(file.readBigUInt64LE(dynamicAt(tag) + 8));
  const strings = offsetOf(dynamicValue(DT_STRTAB));
  /** @param {number} index */
  const text = index => file.toString('latin1', strings + index, file.indexOf(0, strings + index));
  return { file, machine, segments, dynamic, offsetOf, dynamicAt, dynamicValue, text };
}

/** @typedef {ReturnType<typeof readElf>} Elf */

/**
 * @param {Elf} elf
 * @param {number} table   address of relocations
 * @param {number} size    of the table in bytes
 * @returns offsets in the file of the relocations that name our function
 */
function relocationsOfFunction({ file, offsetOf, dynamicValue, text }, table, size) {
  const symbols = offsetOf(dynamicValue(DT_SYMTAB));
  const first = offsetOf(table);
  return Array.from({ length: size / RELA_SIZE }, (_, i) => first + i * RELA_SIZE).filter(
    at => text(file.readUInt32LE(symbols + file.readUInt32LE(at + 12) * SYM_SIZE)) === FUNCTION,
  );
}

/** Puts our own code where the stub of the function jumps to, and takes away the relocation. @param {Elf} elf */
function replaceFunction(elf) {
  const { file, machine, segments, offsetOf, dynamicValue } = elf;
  const inData = relocationsOfFunction(elf, dynamicValue(DT_RELA), dynamicValue(DT_RELASZ));
  const inTable = relocationsOfFunction(elf, dynamicValue(DT_JMPREL), dynamicValue(DT_PLTRELSZ));
  const relocation = inTable[0];
  expect(relocation !== undefined && inTable.length === 1 && inData.length === 0, `${FUNCTION} is not used just once`);
  expect(file.readUInt32LE(relocation + 8) === machine.jumpSlot, `${FUNCTION} is not called through the linkage table`);
  const slot = Number(file.readBigUInt64LE(relocation));
  const symbol = file.readUInt32LE(relocation + 12);

  const code = segments.find(s => s.type === PT_LOAD && s.flags & PF_X);
  expect(code, 'no executable segment');
  const text = file.subarray(code.offset, code.offset + code.size);
  let stub = 0;
  while (machine.slot(text.subarray(stub, stub + STUB_SIZE), code.address + stub) !== slot) {
    stub += STUB_SIZE;
    expect(stub + STUB_SIZE < text.length, `no stub of ${FUNCTION}`);
  }
  const calls = [...machine.calls(text, code.address, code.address + stub)];
  expect(calls.length > 0, `no instruction calls ${FUNCTION}`);
  for (const call of calls) {
    const before = text.subarray(call - ARGUMENT_REACH, call);
    expect(before.includes(Buffer.from(machine.size8)), `${FUNCTION} is called with a size other than 8`);
  }

  // The padding between the linkage table and what follows it on the next page.
  const room = Math.ceil(machine.code.length / machine.align) * machine.align;
  let cave = stub;
  while (!text.subarray(cave, cave + room).every(byte => byte === 0)) {
    cave += machine.align;
    expect(cave < stub + 65536, 'no room behind the linkage table');
  }
  text.set(machine.code, cave);
  text.set(machine.jump(stub, cave), stub);
  file.fill(0, relocation + 8, relocation + RELA_SIZE); // type 0, symbol 0: nothing to do, on both machines
  file.writeUInt16LE(VER_NDX_GLOBAL, offsetOf(dynamicValue(DT_VERSYM)) + symbol * 2);
}

/** Takes the library out of the versions and out of the list of what is needed. @param {Elf} elf */
function forgetLibrary({ file, dynamic, offsetOf, dynamicAt, dynamicValue, text }) {
  const count = dynamicValue(DT_VERNEEDNUM);
  let previous = 0;
  let at = offsetOf(dynamicValue(DT_VERNEED));
  for (let i = 0; i < count && text(file.readUInt32LE(at + 4)) !== LIBRARY; i++) {
    previous = at;
    at += file.readUInt32LE(at + 12);
  }
  expect(text(file.readUInt32LE(at + 4)) === LIBRARY, `no versions of ${LIBRARY}`);
  const next = file.readUInt32LE(at + 12);
  expect(next !== 0, `the versions of ${LIBRARY} are the last ones`);
  if (previous) file.writeUInt32LE(file.readUInt32LE(previous + 12) + next, previous + 12);
  else file.writeBigUInt64LE(BigInt(dynamicValue(DT_VERNEED) + next), dynamicAt(DT_VERNEED) + 8);
  file.writeBigUInt64LE(BigInt(count - 1), dynamicAt(DT_VERNEEDNUM) + 8);

  for (let entry = dynamic.offset; file.readBigInt64LE(entry) !== DT_NULL; entry += DYN_SIZE) {
    if (file.readBigInt64LE(entry) !== DT_NEEDED || text(file.readUInt32LE(entry + 8)) !== LIBRARY) continue;
    const end = dynamic.offset + dynamic.size;
    file.copyWithin(entry, entry + DYN_SIZE, end);
    file.fill(0, end - DYN_SIZE, end);
    return;
  }
  expect(false, `${LIBRARY} is not needed`);
}

/**
 * The same file without the sections that are never loaded: they are the last ones, behind everything else.
 *
 * @param {Elf} elf
 */
function withoutDebugging({ file, segments }) {
  const shoff = Number(file.readBigUInt64LE(40));
  const headers = Array.from({ length: file.readUInt16LE(60) }, (_, i) =>
    file.subarray(shoff + i * SHDR_SIZE, shoff + (i + 1) * SHDR_SIZE),
  );
  const namesHeader = headers[file.readUInt16LE(62)];
  expect(namesHeader, 'no section names');
  const namesAt = Number(namesHeader.readBigUInt64LE(24));
  const names = file.subarray(namesAt, namesAt + Number(namesHeader.readBigUInt64LE(32)));
  const kept = headers.findIndex((h, i) => i > 0 && !(h.readBigUInt64LE(8) & SHF_ALLOC));
  expect(!headers.slice(kept).some(h => h.readBigUInt64LE(8) & SHF_ALLOC), 'a loaded section behind an unloaded one');
  const end = Math.max(...segments.map(s => s.offset + s.size));
  const ends = headers
    .slice(0, kept)
    .map(h => (h.readUInt32LE(4) === SHT_NOBITS ? 0 : Number(h.readBigUInt64LE(24) + h.readBigUInt64LE(32))));
  expect(Math.max(...ends) <= end, 'a loaded section outside of all segments');

  const header = Buffer.from(namesHeader);
  header.writeBigUInt64LE(BigInt(end), 24);
  const tableAt = Math.ceil((end + names.length) / 8) * 8;
  const slim = Buffer.concat([
    file.subarray(0, end),
    names,
    Buffer.alloc(tableAt - end - names.length),
    ...headers.slice(0, kept),
    header,
  ]);
  slim.writeBigUInt64LE(BigInt(tableAt), 40);
  slim.writeUInt16LE(kept + 1, 60);
  slim.writeUInt16LE(kept, 62);
  return slim;
}

/**
 * @param {Uint8Array} original   an official Node for Linux, x64 or arm64
 * @throws {Error} where anything is not as expected
 */
export function prepareNode(original) {
  const elf = readElf(Buffer.from(original));
  replaceFunction(elf);
  forgetLibrary(elf);
  return withoutDebugging(elf);
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const [from, to] = process.argv.slice(2);
  if (!from || !to) throw new Error('Usage: node node.mjs FROM TO');
  writeFileSync(to, prepareNode(readFileSync(from)));
  chmodSync(to, 0o755);
}
