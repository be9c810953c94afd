// @ts-check
/**
 * The two machines that node.mjs knows: instructions of a compare-and-exchange of eight bytes, and how calls and jumps through
 * the procedure linkage table look there.
 */

/**
 * The differences between machines. `code` takes the arguments where the C calling convention of the machine puts
 * them; a size other than 8 stops the process at once. Sequentially consistent, the strongest order that a caller can ask.
 *
 * @typedef {object} Machine
 * @property {number} jumpSlot    relocation type that fills a slot of the linkage table
 * @property {readonly number[]} code
 * @property {number} align       of code, in bytes
 * @property {(stub: Buffer, address: number) => number} slot     the table slot that this stub jumps through
 * @property {(from: number, to: number) => readonly number[]} jump
 * @property {(text: Buffer, address: number, target: number) => IterableIterator<number>} calls  offsets of calls to target
 * @property {readonly number[]} size8   the instruction that makes the first argument 8
 */

/** @type {(word: number) => number[]} */
const le32 = word => [word & 255, (word >>> 8) & 255, (word >>> 16) & 255, word >>> 24];

/** @type {Machine} */
export const x64 = {
  jumpSlot: 7, // R_X86_64_JUMP_SLOT
  align: 16,
  code: [
    ...[0x48, 0x83, 0xff, 0x08], //        cmp  $8, %rdi
    ...[0x75, 0x17], //                    jne  2f
    ...[0x48, 0x8b, 0x02], //              mov  (%rdx), %rax
    ...[0x48, 0x8b, 0x09], //              mov  (%rcx), %rcx
    ...[0xf0, 0x48, 0x0f, 0xb1, 0x0e], //  lock cmpxchg %rcx, (%rsi)
    ...[0x74, 0x03], //                    je   1f
    ...[0x48, 0x89, 0x02], //              mov  %rax, (%rdx)
    ...[0x0f, 0x94, 0xc0], //           1: sete %al
    ...[0x0f, 0xb6, 0xc0], //              movzbl %al, %eax
    0xc3, //                               ret
    ...[0x0f, 0x0b], //                 2: ud2
  ],
  // jmp *slot(%rip); push $n; jmp .plt
  slot: (stub, address) => (stub.readUInt16LE(0) === 0x25ff ? address + 6 + stub.readInt32LE(2) : 0),
  jump: (from, to) => [0xe9, ...le32(to - from - 5), ...Array(11).fill(0xcc)],
  *calls(text, address, target) {
    // call, and jmp for a call in tail position
    for (const opcode of [0xe8, 0xe9]) {
      for (let at = text.indexOf(opcode); at >= 0 && at + 5 <= text.length; at = text.indexOf(opcode, at + 1)) {
        if (address + at + 5 + text.readInt32LE(at + 1) === target) yield at;
      }
    }
  },
  size8: [0xbf, 8, 0, 0, 0], // mov $8, %edi
};

/** @type {Machine} */
export const arm64 = {
  jumpSlot: 1026, // R_AARCH64_JUMP_SLOT
  align: 16,
  code: [
    0xf100201f, //    cmp   x0, #8
    0x540001c1, //    b.ne  3f
    0xf9400044, //    ldr   x4, [x2]
    0xf9400065, //    ldr   x5, [x3]
    0xc85ffc26, // 1: ldaxr x6, [x1]
    0xeb0400df, //    cmp   x6, x4
    0x540000a1, //    b.ne  2f
    0xc807fc25, //    stlxr w7, x5, [x1]
    0x35ffff87, //    cbnz  w7, 1b
    0x52800020, //    mov   w0, #1
    0xd65f03c0, //    ret
    0xd5033f5f, // 2: clrex
    0xf9000046, //    str   x6, [x2]
    0x52800000, //    mov   w0, #0
    0xd65f03c0, //    ret
    0xd4200000, // 3: brk   #0
  ].flatMap(le32),
  // adrp x16, page; ldr x17, [x16, #offset]; add x16, x16, #offset; br x17
  slot: (stub, address) => {
    const adrp = stub.readUInt32LE(0);
    const ldr = stub.readUInt32LE(4);
    if ((adrp & 0x9f00001f) >>> 0 !== 0x90000010 || (ldr & 0xffc003ff) >>> 0 !== 0xf9400211) return 0;
    const pages = (((adrp >>> 5) & 0x7ffff) << 2) | ((adrp >>> 29) & 3);
    return address - (address % 4096) + pages * 4096 + ((ldr >>> 10) & 0xfff) * 8;
  },
  jump: (from, to) => [0x14000000 | (((to - from) / 4) & 0x3ffffff), 0xd4200000, 0xd4200000, 0xd4200000].flatMap(le32),
  *calls(text, address, target) {
    for (let at = 0; at + 4 <= text.length; at += 4) {
      const word = text.readUInt32LE(at);
      const opcode = word >>> 26; // bl, or b for a call in tail position
      if ((opcode === 0x25 || opcode === 0x05) && address + at + (((word & 0x3ffffff) << 6) >> 6) * 4 === target)
        yield at;
    }
  },
  size8: le32(0x52800100), // mov w0, #8
};
