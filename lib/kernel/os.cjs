/**
 * Stands in for Node's `os` inside the executable, for the package `netlink`, which asks it for so little that to load it
 * takes longer than to answer.
 */
const [lowest] = new Uint8Array(Uint16Array.of(1).buffer);

module.exports = {
  endianness: () => (lowest === 1 ? 'LE' : 'BE'),
  // include/uapi/asm-generic/errno.h
  constants: { errno: { EADDRINUSE: 98 } },
};
