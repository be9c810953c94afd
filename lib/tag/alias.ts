/**
 * The alias of a tagged link: `tollgate:<namespace>/<pod>:<containerID, short>`, so that `ip link` says whose it is.
 * Names that Kubernetes would not allow are percent-encoded, so an alias is ASCII and one byte a character.
 */
export interface Alias {
  readonly namespace: string;
  readonly pod: string;
  readonly containerID: string;
}

export interface ParsedAlias {
  readonly namespace: string;
  readonly pod: string;
  /** `shortID` of the containerID. */
  readonly shortID: string;
  /** A name was too long for the alias, and only its beginning is here. */
  readonly isCut: boolean;
}

const prefix = 'tollgate:';

/** IFALIASZ is 256 and the kernel wants room for a NUL. */
const maxBytes = 255;

/** What a Kubernetes namespace takes at most (RFC 1123 label): a real one is never cut. */
const namespaceBytes = 63;

/** Stands for the rest of a name that was cut; `encode` never gives it. */
const more = '+';

/** 13 digits of a hash are what container tools show; whatever else a runtime uses (UUID, cnitool's) is kept whole. */
export const shortID = (containerID: string): string =>
  containerID.length <= 36 ? containerID : containerID.slice(0, 13);

const encode = (name: string): string => encodeURIComponent(name.toWellFormed()).replaceAll(/[!'()*~]/g, percent);

const percent = (character: string): string => `%${character.charCodeAt(0).toString(16).toUpperCase()}`;

/** At most `room` bytes, never part of a character: encoded bytes come back out as long as they do not decode. */
function cut(encoded: string, room: number): string {
  if (encoded.length <= room) return encoded;
  let kept = encoded.slice(0, room - more.length).replace(/%.?$/, '');
  while (decode(kept) === undefined) kept = kept.slice(0, -3);
  return kept + more;
}

function decode(encoded: string): string | undefined {
  try {
    return decodeURIComponent(encoded);
  } catch {
    return undefined;
  }
}

/** At most 255 bytes; prefix and short containerID are always whole, the namespace is cut only beyond 63 bytes. */
export function formatAlias({ namespace, pod, containerID }: Alias): string {
  const tail = `:${shortID(containerID)}`;
  const room = maxBytes - prefix.length - '/'.length - tail.length;
  const podText = encode(pod);
  const namespaceText = cut(encode(namespace), Math.max(namespaceBytes, room - podText.length));
  return `${prefix}${namespaceText}/${cut(podText, room - namespaceText.length)}${tail}`;
}

/** Parts of an alias that tollgate wrote; undefined for any other. */
export function parseAlias(alias: string): ParsedAlias | undefined {
  const match = /^tollgate:([\w.%-]+)(\+?)\/([\w.%-]+)(\+?):([a-zA-Z0-9][\w.-]*)$/.exec(alias);
  if (!match || alias.length > maxBytes) return undefined;
  const namespace = decode(match[1]!);
  const pod = decode(match[3]!);
  if (namespace === undefined || pod === undefined) return undefined;
  return { namespace, pod, shortID: match[5]!, isCut: match[2] !== '' || match[4] !== '' };
}
