/** Errors of choosing an address, each with the facts that a caller needs to answer its runtime. */

/** The `ipam` section, or a capability that feeds it, says something that cannot be carried out. CNI code 7. */
export class IpamConfigError extends Error {
  override readonly name = 'IpamConfigError';
  /** Path of the key, as in `ipam.ranges[0][1].gateway`. */
  readonly field: string;

  constructor(field: string, problem: string) {
    super(`${field}: ${problem}`);
    this.field = field;
  }
}

/** Every address of a pool is taken. */
export class PoolExhausted extends Error {
  override readonly name = 'PoolExhausted';
  /** `10.0.0.1-10.0.0.254`, one such for each range. */
  readonly pool: string;
  /** Addresses that the pool can give at all: gateways are none of them. */
  readonly size: bigint;
  /** Claims by attachments, dead ones included. */
  readonly taken: number;
  /** Free of claims, but routed by this node. */
  readonly busy: number;

  constructor(facts: { readonly pool: string; readonly size: bigint; readonly taken: number; readonly busy: number }) {
    const { pool, size, taken, busy } = facts;
    const others = busy === 0 ? '' : `, ${busy} in use by others on this node`;
    super(`Cannot reserve an address in ${pool}: all ${size} are gone, ${taken} taken by attachments${others}`);
    this.pool = pool;
    this.size = size;
    this.taken = taken;
    this.busy = busy;
  }
}

/** An address that was asked for by number cannot be had: taken, a gateway, or in no range. */
export class AddressRefused extends Error {
  override readonly name = 'AddressRefused';
  readonly address: string;

  constructor(address: string, reason: string) {
    super(`Cannot reserve ${address}: ${reason}`);
    this.address = address;
  }
}
