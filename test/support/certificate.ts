/** Certificates made on the spot, so that no key lies in the tree and none runs out. */
import { generateKeyPairSync, type KeyObject, sign, X509Certificate } from 'node:crypto';
import { isIP } from 'node:net';

/** One value in DER (X.690): tag, length, contents. */
function der(tag: number, ...parts: readonly Buffer[]): Buffer {
  const contents = Buffer.concat(parts);
  const size = contents.length;
  const length = size < 128 ? [size] : size < 256 ? [0x81, size] : [0x82, size >> 8, size & 0xff];
  return Buffer.concat([Buffer.from([tag, ...length]), contents]);
}

const sequence = (...parts: readonly Buffer[]) => der(0x30, ...parts);
const oid = (hex: string) => der(0x06, Buffer.from(hex, 'hex'));
const bits = (value: Buffer) => der(0x03, Buffer.from([0]), value);
const ecdsaWithSha256 = sequence(oid('2a8648ce3d040302'));
const nameOf = (commonName: string) => sequence(der(0x31, sequence(oid('550403'), der(0x0c, Buffer.from(commonName)))));
const time = (year: number) => der(0x17, Buffer.from(`${String(year % 100).padStart(2, '0')}0101000000Z`));
const extension = (id: string, value: Buffer) => sequence(oid(id), der(0x04, value));
/** CA: true */
const basicConstraints = extension('551d13', sequence(der(0x01, Buffer.from([0xff]))));

/** subjectAltName: IPv4 addresses and DNS names. */
const altNames = (names: readonly string[]) =>
  extension(
    '551d11',
    sequence(
      ...names.map(name =>
        isIP(name) === 4 ? der(0x87, Buffer.from(name.split('.').map(Number))) : der(0x82, Buffer.from(name)),
      ),
    ),
  );

export interface Certified {
  /** PEM. */
  readonly cert: string;
  /** PEM. */
  readonly key: string;
}

interface Issuer {
  readonly name: string;
  readonly privateKey: KeyObject;
}

let serial = 1;

function issue(name: string, extension: Buffer, issuer?: Issuer): Certified & Issuer {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const year = new Date().getFullYear();
  const toBeSigned = sequence(
    der(0xa0, der(0x02, Buffer.from([2]))),
    der(0x02, Buffer.from([serial++])),
    ecdsaWithSha256,
    nameOf(issuer?.name ?? name),
    sequence(time(year - 1), time(year + 2)),
    nameOf(name),
    publicKey.export({ type: 'spki', format: 'der' }),
    der(0xa3, sequence(extension)),
  );
  const signature = sign('sha256', toBeSigned, issuer?.privateKey ?? privateKey);
  const cert = new X509Certificate(sequence(toBeSigned, ecdsaWithSha256, bits(signature))).toString();
  return { name, privateKey, cert, key: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString() };
}

export interface Authority extends Certified {
  /** A certificate for a server of these names (DNS or IPv4), or for a client of the first. */
  issue(...names: readonly [string, ...string[]]): Certified;
}

export function createAuthority(name: string): Authority {
  const own = issue(name, basicConstraints);
  return { cert: own.cert, key: own.key, issue: (...names) => issue(names[0], altNames(names), own) };
}
