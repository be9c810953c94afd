/** Requests as lists of attributes, where one without a value is left out. */
import { type Address, addressBytes } from '../ip/address.ts';
import { MessageWriter } from './writer.ts';

/** An attribute without a value is left out; a list is the attributes that it holds. */
export type AttributeValue = Uint8Array | readonly Attribute[] | undefined;
export type Attribute = readonly [type: number, value: AttributeValue];

const encoder = new TextEncoder();

function write(out: MessageWriter, attributes: readonly Attribute[]): void {
  for (const [type, value] of attributes) {
    if (value instanceof Uint8Array) out.bytes(type, value);
    else if (value) {
      const nest = out.open(type);
      write(out, value);
      out.close(nest);
    }
  }
}

/** A message's body: its own struct, then its attributes. */
export function bodyOf(struct: Uint8Array, ...attributes: readonly Attribute[]): Uint8Array {
  const out = new MessageWriter();
  out.struct(struct);
  write(out, attributes);
  return out.finish();
}

/** In host byte order. */
export const u32 = (value: number | undefined): Uint8Array | undefined =>
  value === undefined ? undefined : Uint8Array.of(value, value >>> 8, value >>> 16, value >>> 24);

export const be16 = (value: number | undefined): Uint8Array | undefined =>
  value === undefined ? undefined : Uint8Array.of(value >>> 8, value);

export const be32 = (value: number | undefined): Uint8Array | undefined =>
  value === undefined ? undefined : Uint8Array.of(value >>> 24, value >>> 16, value >>> 8, value);

export const u8 = (value: number | undefined): Uint8Array | undefined =>
  value === undefined ? undefined : Uint8Array.of(value);

/** In UTF-8 with a closing NUL. */
export const text = (value: string | undefined): Uint8Array | undefined =>
  value === undefined ? undefined : encoder.encode(`${value}\0`);

/** In network byte order: 4 or 16 bytes. */
export const address = (value: Address | undefined): Uint8Array | undefined =>
  value && Uint8Array.from(addressBytes(value));

/** `aa:bb:cc:dd:ee:ff` as six bytes. @throws RangeError a text of another form */
export function mac(value: string | undefined): Uint8Array | undefined {
  if (value === undefined) return undefined;
  if (!/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/i.test(value))
    throw new RangeError(`Cannot read ${JSON.stringify(value)} as a MAC`);
  return Uint8Array.from(value.split(':'), byte => Number.parseInt(byte, 16));
}
