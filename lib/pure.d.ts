/** What a pure room may use beyond the language: the platform's text encoding, which is not Node's. */
declare class TextEncoder {
  encode(text?: string): Uint8Array<ArrayBuffer>;
}
declare class TextDecoder {
  decode(bytes?: Uint8Array): string;
}
